"""Runtime: the process and the machine. It imports nothing from the rest of the package.

arrays      arrays of numpy and tensors, by one set of names
atomic      files and folders that appear complete or not at all
cache       the folder for what is computed once per machine
devices     which device to run on
disk_space  checked and allocated before any work
dtypes      names of floating-point types
extras      optional packages, or an error that says what to install
folders     outputs that may be written, folders claimed by one run
json_file   JSON with errors that name the file
locks       locked files, on POSIX and Windows
malloc      glibc's allocator, and how much memory the process uses
openmp      how OpenMP threads wait
programs    processes and signals, on POSIX and Windows
scheduling  no real-time priority from a library
tables      tables in Markdown
"""
