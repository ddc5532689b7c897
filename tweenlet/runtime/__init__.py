"""Runtime: the process and the machine. It imports nothing from the rest of the package.

arrays      arrays of numpy and tensors, by one set of names
atomic      files and folders that appear complete or not at all
cache       the folder for what is computed once per machine
devices     which device to run on
dtypes      names of floating-point types
json_file   JSON with errors that name the file
malloc      glibc's allocator, and how much memory the process uses
openmp      how OpenMP threads wait
tables      tables in Markdown
"""
