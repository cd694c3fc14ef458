"use strict";
const one = (selector, inside = document) => inside.querySelector(selector);
const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];

// --- numbers and drawings, as figures/page.py and figures/controls.py make them -------------------

function number(value, digits = 4) {
  if (value === null) return "–";
  if (Number.isInteger(value) && Math.abs(value) < 1e6) return String(value).replace("-", "−");
  if (Math.abs(value) >= 1e-3 && Math.abs(value) < 10 ** digits) {
    return value.toPrecision(digits).replace(/\.$/, "").replace("-", "−");
  }
  return value.toExponential(digits - 1).replace("e+", "e").replaceAll("-", "−");
}

const exact = (value, bound) =>
  bound !== null && value < bound ? "< " + number(bound, 2) : number(value, 6);

const WIDTH = 460, HEIGHT = 240, LEFT = 58, RIGHT = 18, TOP = 10, BOTTOM = 42;

function drawing(panel, chart, mark) {
  const count = chart.texts.length, floor = HEIGHT - BOTTOM, middle = (LEFT + WIDTH - RIGHT) / 2;
  const pad = panel.series.some((series) => series.kind === "bar") ? 0.5 : 0;
  const span = Math.max(count - 1 + 2 * pad, 1), unit = (WIDTH - LEFT - RIGHT) / span;
  const across = (i) => (LEFT + (i + pad) * unit).toFixed(1);
  const high = (value) => (floor - TOP) * (chart.low === null ? value / chart.top
    : Math.log(value / chart.low) / Math.log(chart.top / chart.low));
  const up = (value) => (floor - high(value)).toFixed(1);
  const out = [];
  for (const [value, text] of chart.grid) {
    const y = up(value);
    out.push(`<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y}" y2="${y}"/>`);
    const below = (floor - high(value) + 3.5).toFixed(1);
    out.push(`<text class="end" x="${LEFT - 5}" y="${below}">${text}</text>`);
  }
  for (const i of chart.ticks) {
    out.push(`<text class="middle" x="${across(i)}" y="${floor + 14}">${chart.texts[i]}</text>`);
  }
  const stacked = new Array(count).fill(0);
  panel.series.forEach((series, s) => {
    const known = chart.values[s].map((value, i) => [i, value])
      .filter(([, value]) => value !== null && (chart.low === null || value >= chart.low));
    if (series.kind === "bar") {
      const half = 0.4 * unit;
      for (const [i, value] of known) {
        const x = (LEFT + (i + pad) * unit - half).toFixed(1), y = up(stacked[i] + value);
        out.push(`<rect class="${series.colour}" x="${x}" y="${y}" ` +
          `width="${(2 * half).toFixed(1)}" height="${high(value).toFixed(1)}"/>`);
        stacked[i] += value;
      }
    } else {
      const points = known.map(([i, value]) => `${across(i)},${up(value)}`).join(" ");
      out.push(`<polyline class="${series.colour} ${series.kind}" points="${points}"/>`);
      for (const [i, value] of known.filter(([i]) => i === mark)) {
        out.push(`<circle class="${series.colour}" cx="${across(i)}" cy="${up(value)}" r="4"/>`);
      }
    }
  });
  if (mark !== null) {
    const x = across(mark);
    out.push(`<line class="mark" x1="${x}" x2="${x}" y1="${TOP}" y2="${floor}"/>`);
  }
  out.push(`<line class="axis" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${floor}" y2="${floor}"/>`);
  out.push(`<text class="middle" x="${middle}" y="${HEIGHT - 8}">${panel.x}</text>`);
  const half = TOP + (floor - TOP) / 2;
  out.push(`<text class="middle" x="12" y="${half}" ` +
    `transform="rotate(-90 12 ${half})">${panel.y}</text>`);
  return out.join("");
}

// --- controls -------------------------------------------------------------------------------------

function lines(knob, setting, text) {
  const names = Object.assign({}, ...knob.choices.map((c, i) => c.options[setting[i]].code));
  while (text.includes("«")) text = text.replace(/«(\w+)»/g, (_, name) => names[name]);
  return text;
}

function show(knob, box, setting) {
  const chosen = knob.choices.map((choice, i) => choice.options[setting[i]].text);
  one(".setting span", box).textContent =
    knob.choices.map((choice, i) => `${choice.label} ${chosen[i]}`).join(", ");
  const rows = all(".numbers tbody tr", box), numbers = knob.numbers[setting.join(".")];
  knob.quantities.forEach((quantity, i) => {
    const [value, bound] = numbers[i], cells = rows[i].cells;
    cells[1].textContent = exact(value, bound);
    cells[3].textContent = number(bound, 2);
    cells[4].firstChild.textContent = lines(knob, setting, quantity.code);
  });
  one(".code code", box).textContent = lines(knob, setting, knob.code);
  const charts = knob.panels.map((panel) => panel.charts[panel.depends.map((i) => setting[i]).join(".")]);
  all("svg", box).forEach((svg, i) => {
    const panel = knob.panels[i];
    svg.innerHTML = drawing(panel, charts[i], panel.marked === null ? null : setting[panel.marked]);
  });
  const body = one(".drawn tbody", box);
  body.replaceChildren(...charts[0].texts.map((text, i) => {
    const row = document.createElement("tr");
    const values = charts.flatMap((chart) => chart.values.map((series) => number(series[i])));
    for (const cell of [text, ...values]) row.insertCell().textContent = cell;
    return row;
  }));
}

for (const box of all(".knob")) {
  const knob = JSON.parse(one("#data-" + box.dataset.knob).textContent);
  const inputs = knob.choices.map((choice) => one(`#${knob.name}-${choice.name}`));
  const update = () => {
    const setting = inputs.map((input) => Number(input.value));
    knob.choices.forEach((choice, i) => {
      if (!choice.slider) return;
      const text = choice.options[setting[i]].text;
      inputs[i].setAttribute("aria-valuetext", text);
      inputs[i].nextElementSibling.textContent = text;
    });
    show(knob, box, setting);
  };
  for (const input of inputs) {
    input.disabled = false;
    input.addEventListener("input", update);
  }
  update();
}

// --- figures, enlarged; Escape closes (so does the browser's own way back from a dialog) ----------

const dialog = one("#enlarged"), enlarged = one("img", dialog), stage = one(".stage", dialog);

function scale(full) {
  stage.classList.toggle("full", full);
  one("#scale").textContent = full ? "Fit the screen" : "Full size";
}
for (const button of all(".zoom")) {
  button.addEventListener("click", () => {
    const shown = all("img", button).find((image) => getComputedStyle(image).display !== "none");
    enlarged.src = shown.src;
    enlarged.alt = shown.alt;
    one(".bar p", dialog).textContent = shown.alt;
    dialog.showModal();
    scale(innerWidth < 700); // where fitting the screen would not enlarge anything
  });
}
one("#scale").addEventListener("click", () => scale(!stage.classList.contains("full")));
enlarged.addEventListener("click", () => scale(!stage.classList.contains("full")));
one("#close").addEventListener("click", () => dialog.close());
stage.addEventListener("click", (event) => { if (event.target === stage) dialog.close(); });

// --- colours, links into folded parts, and where in the contents the reader is --------------------

const colours = one("#colours");
colours.closest("p").hidden = false;
colours.addEventListener("change", () => {
  if (colours.value) document.documentElement.dataset.theme = colours.value;
  else delete document.documentElement.dataset.theme;
});

function unfold() {
  const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
  if (target && target.tagName === "DETAILS") target.open = true;
}
addEventListener("hashchange", unfold);
addEventListener("click", (event) => { if (event.target.closest('a[href^="#"]')) setTimeout(unfold); });
unfold();

const entries = new Map(all("nav li > a:not(.turn)").map((a) => [a.hash.slice(1), a]));
const seen = new IntersectionObserver((changes) => {
  for (const change of changes) {
    if (!change.isIntersecting) continue;
    for (const link of entries.values()) link.removeAttribute("aria-current");
    entries.get(change.target.id)?.setAttribute("aria-current", "true");
  }
}, { rootMargin: "-10% 0px -80% 0px" });
for (const section of all("main > section")) seen.observe(section);
