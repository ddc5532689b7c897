// The viewer: two pictures of one sample, one over the other, parted by a line, both zoomed and moved alike.
//
//   strip ---> sample --+
//   choices -> left ----+--> draw(): the same transform for both layers; the left one is clipped at the divider
//   slider, stage ------+
"use strict";
{
  const samples = JSON.parse(document.getElementById("samples").textContent);
  const [stage, slider, strip, zooms, choices] = ["stage", "slider", "strip", "zooms", "choices"].map((id) =>
    document.getElementById(id),
  );
  const SIDES = ["left", "right"];
  const ZOOMS = [0, 1, 2, 4, 8]; // pixels of the page for one of the picture; 0: as large as fits
  const NEAR = 24; // pixels around the divider in which it is taken hold of
  const NOTCH = 60; // pixels of the wheel for one step

  // x, y: the point of the picture in the middle of the stage. divider: of the stage's width, in percent.
  const state = { sample: samples[0], left: "truth", right: samples[0].first, zoom: 0, x: 0, y: 0, divider: 50 };

  function element(tag, properties = {}, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  function radio(name, label, checked, chosen) {
    const input = element("input", { type: "radio", name, checked, ariaLabel: label });
    input.addEventListener("change", chosen);
    return input;
  }

  const between = (low, value, high) => Math.min(Math.max(low, value), high);

  const scale = (zoom = state.zoom) =>
    ZOOMS[zoom] || Math.min(stage.clientWidth / state.sample.width, stage.clientHeight / state.sample.height);

  const overflows = () =>
    state.sample.width * scale() > stage.clientWidth + 1 || state.sample.height * scale() > stage.clientHeight + 1;

  function draw() {
    const { sample, divider } = state;
    const size = scale();
    const across = stage.clientWidth / size / 2; // half of what is seen, in pixels of the picture
    const down = stage.clientHeight / size / 2;
    state.x = across * 2 >= sample.width ? sample.width / 2 : between(across, state.x, sample.width - across);
    state.y = down * 2 >= sample.height ? sample.height / 2 : between(down, state.y, sample.height - down);
    const left = stage.clientWidth / 2 - state.x * size;
    const top = stage.clientHeight / 2 - state.y * size;
    for (const side of SIDES) {
      const image = document.querySelector(`#${side} img`);
      image.style.transform = `translate(${left}px, ${top}px) scale(${size})`;
      image.style.imageRendering = size >= 2 ? "pixelated" : "auto";
    }
    document.getElementById("left").style.clipPath = `inset(0 ${100 - divider}% 0 0)`;
    document.getElementById("divider").style.left = `${divider}%`;
    slider.value = divider;
    stage.classList.toggle("movable", overflows());
    zooms.querySelectorAll("input")[state.zoom].checked = true;
  }

  function show(side) {
    const { sample } = state;
    const picture = sample.pictures.find(({ key }) => key === state[side]);
    const layer = document.getElementById(side);
    const image = layer.querySelector("img");
    image.width = sample.width;
    image.height = sample.height;
    image.alt = `${side}: ${picture.label}`;
    image.src = picture.source;
    layer.querySelector(".tag").textContent = [picture.label, picture.value].filter(Boolean).join("  ");
  }

  function choose(sample) {
    state.sample = sample;
    for (const side of SIDES) if (!sample.pictures.some(({ key }) => key === state[side])) state[side] = "truth";
    [state.x, state.y] = sample.focus;
    stage.style.aspectRatio = `${sample.width} / ${sample.height}`;
    document.getElementById("name").textContent = sample.name;
    document.getElementById("note").textContent = sample.note;
    choices.replaceChildren(
      ...sample.pictures.map(({ key, label, value }) =>
        element(
          "tr",
          { className: key.split(" ")[0] },
          element("th", { className: "text", scope: "row", title: label, textContent: key.startsWith("error ") ? "its error" : label }),
          element("td", { className: "number", textContent: value }),
          ...SIDES.map((side) => {
            const chosen = () => {
              state[side] = key;
              show(side);
            };
            return element("td", {}, element("label", {}, radio(side, `${label}, ${side}`, key === state[side], chosen)));
          }),
        ),
      ),
    );
    SIDES.forEach(show);
    draw();
  }

  // Zoom so that one point of the stage (from its middle) keeps showing the same point of the picture.
  function zoomTo(zoom, across = 0, down = 0) {
    const before = scale();
    state.zoom = between(0, zoom, ZOOMS.length - 1);
    const fitted = before === scale(0);
    if (fitted && !across && !down) [state.x, state.y] = state.sample.focus;
    state.x += across / before - across / scale();
    state.y += down / before - down / scale();
    draw();
  }

  function move(across, down) {
    state.x -= across / scale();
    state.y -= down / scale();
    draw();
  }

  function part(percent) {
    state.divider = between(0, percent, 100);
    draw();
  }

  strip.append(
    ...samples.map((sample, index) => {
      const truth = sample.pictures.find(({ key }) => key === "truth").source;
      const { value } = sample.pictures.find(({ key }) => key === sample.first);
      return element(
        "label",
        { title: sample.name },
        radio("sample", sample.name, index === 0, () => choose(sample)),
        element("img", { src: truth, alt: "", width: sample.width, height: sample.height }),
        element("span", { textContent: value }),
      );
    }),
  );
  zooms.append(
    ...ZOOMS.map((size, index) => {
      const label = size ? (size === 1 ? "1:1" : `${size}x`) : "fit";
      return element("label", {}, radio("zoom", label, index === 0, () => zoomTo(index)), element("span", { textContent: label }));
    }),
  );

  slider.addEventListener("input", () => part(Number(slider.value)));

  let held = null; // what a pointer has taken hold of: {pointer, divider, x, y}

  function middle(event) {
    const box = stage.getBoundingClientRect();
    return [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2];
  }

  function follow(event) {
    const [across] = middle(event);
    part(50 + (100 * across) / stage.clientWidth);
  }

  stage.addEventListener("pointerdown", (event) => {
    if (held || event.button) return;
    const [across] = middle(event);
    const near = Math.abs(across - ((state.divider - 50) / 100) * stage.clientWidth) < NEAR;
    held = { pointer: event.pointerId, divider: near || !overflows(), x: event.clientX, y: event.clientY };
    stage.setPointerCapture(event.pointerId);
    if (held.divider && event.pointerType === "mouse") follow(event); // a finger may be about to scroll
  });
  stage.addEventListener("pointermove", (event) => {
    if (event.pointerId !== held?.pointer) return;
    if (held.divider) follow(event);
    else move(event.clientX - held.x, event.clientY - held.y);
    held.x = event.clientX;
    held.y = event.clientY;
  });
  for (const end of ["pointerup", "pointercancel"]) {
    stage.addEventListener(end, (event) => {
      if (event.pointerId === held?.pointer) held = null;
    });
  }

  let turned = 0;
  stage.addEventListener(
    "wheel",
    (event) => {
      if (document.activeElement !== stage && !event.ctrlKey) return; // the page scrolls
      event.preventDefault();
      turned += event.deltaMode ? event.deltaY * NOTCH : event.deltaY * (event.ctrlKey ? 10 : 1);
      if (Math.abs(turned) < NOTCH) return;
      zoomTo(state.zoom - Math.sign(turned), ...middle(event));
      turned = 0;
    },
    { passive: false },
  );

  stage.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 200 : 50;
    const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    const steps = { "+": 1, "=": 1, "-": -1 };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in steps) zoomTo(state.zoom + steps[event.key]);
    else if (event.key === "0") zoomTo(0);
    else if (event.key in moves && overflows()) move(...moves[event.key]);
    else if (event.key === "ArrowLeft" || event.key === "ArrowRight") part(state.divider - moves[event.key][0] / 25);
    else return;
    event.preventDefault();
  });

  new ResizeObserver(draw).observe(stage);
  choose(samples[0]);
}
