"use strict";
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const plots = new Map(); // by chart: its plot, the whole range of its axes, the series that are hidden
  let printing = false;

  const models = (plot) => [...plot.document._all_models.values()];

  function paint(plot) {
    const at = dark.matches && !printing ? 2 : 1;
    for (const model of models(plot)) {
      const [list] = model.tags ?? [];
      if (!Array.isArray(list)) continue;
      for (const colours of list) model[colours[0]] = colours[at];
    }
  }

  function paintAll() {
    for (const { plot } of plots.values()) paint(plot);
  }

  function show(id) {
    const { plot, hidden } = plots.get(id);
    for (const drawn of plot.renderers) {
      const [series] = drawn.tags ?? [];
      drawn.visible = !hidden.has(series);
    }
  }

  async function embed(id, { item, ranges }) {
    const place = document.getElementById(item.target_id);
    if (!place) return;
    place.replaceChildren();
    const old = plots.get(id);
    if (old) {
      const before = old.plot.document;
      before.clear();
      Bokeh.documents.splice(Bokeh.documents.indexOf(before), 1);
    }
    const views = await Bokeh.embed.embed_item(item);
    const made = Bokeh.documents.find((one) => one.roots().some((root) => root.id === item.root_id));
    const plot = made.roots().find((root) => root.id === item.root_id);
    still(place);
    plots.set(id, { plot, view: views.get_one(plot), ranges, hidden: old ? old.hidden : new Set() });
    for (const [axis, place] of [["x", "below"], ["y", "left"]]) tick(plot, axis, plot[place][0]);
    paint(plot);
    show(id);
  }

  // Ticks of a logarithmic axis: as few kinds of first digits as give four of them; equal steps where none do.
  const DIGITS = [[1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 5, 7], [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9]];

  function tick(plot, axis, drawn) {
    if (plot[`${axis}_scale`].type !== "LogScale") return;
    const range = plot[`${axis}_range`];
    const set = () => { drawn.ticker.ticks = ticks(range.start, range.end); };
    range.properties.start.change.connect(set);
    range.properties.end.change.connect(set);
    set();
  }

  function ticks(low, high) {
    if (!(low > 0 && high > low)) return [];
    const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
    for (const digits of DIGITS) {
      const found = [];
      for (let power = first; power <= last; power += 1) {
        for (const digit of digits) found.push(Number(`${digit}e${power}`));
      }
      const inside = found.filter((one) => one >= low && one <= high);
      if (inside.length >= 4) return inside;
    }
    const rough = 10 ** Math.floor(Math.log10((high - low) / 4));
    const step = rough * [1, 2, 5, 10].findLast((one) => one * rough <= (high - low) / 3.9);
    const begin = Math.ceil(low / step);
    return Array.from({ length: Math.floor(high / step) - begin + 1 }, (_, at) => Number(((begin + at) * step).toPrecision(12)));
  }

  // The drawing is a picture with a description: what can be done with it has buttons of its own.
  function still(root) {
    for (const one of root.querySelectorAll("*")) {
      one.removeAttribute("tabindex");
      if (one.shadowRoot) still(one.shadowRoot);
    }
  }

  // Numbers along an axis as its scale has them, so that one rule moves linear and logarithmic axes.
  function move(plot, ranges, how) {
    if (how === "reset") {
      for (const axis of ["x", "y"]) {
        const range = plot[`${axis}_range`];
        range.setv({ start: ranges[axis][0], end: ranges[axis][1] });
      }
      return;
    }
    for (const axis of how === "left" || how === "right" ? ["x"] : ["x", "y"]) {
      const range = plot[`${axis}_range`];
      const log = plot[`${axis}_scale`].type === "LogScale";
      const into = log ? Math.log : (value) => value;
      const out = log ? Math.exp : (value) => value;
      let [low, high] = [into(range.start), into(range.end)];
      const wide = high - low;
      const by = { in: [0.2, -0.2], out: [-0.333, 0.333], left: [-0.25, -0.25], right: [0.25, 0.25] }[how];
      // Losses end low and late: what is looked for is there.
      range.setv({ start: out(low + by[0] * wide), end: out(high + by[1] * wide) });
    }
  }

  function sortable(table) {
    const body = table.tBodies[0];
    [...table.tHead.rows[0].cells].forEach((head, at) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        sort(table, at, head.getAttribute("aria-sort") === "ascending" ? -1 : 1);
      });
    });
    body.dataset.original = "";
  }

  function sort(table, at, sign) {
    const value = (row) => {
      const cell = row.cells[at];
      const number = cell.dataset.value;
      return number === undefined ? cell.textContent : Number(number);
    };
    const compare = (one, other) => {
      const [a, b] = [value(one), value(other)];
      if (a === "" || b === "") return (a === "") - (b === ""); // what is not known comes last, either way
      if (typeof a === "number" && typeof b === "number") return sign * (a - b);
      return sign * String(a).localeCompare(String(b), undefined, { numeric: true });
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
    [...table.tHead.rows[0].cells].forEach((head, place) => {
      if (place === at) head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
  }

  // Wide tables: which of their columns are shown, the first always.
  const WIDE = 7;
  const left = new WeakMap(); // by table: the places of the columns that are left out

  function choosable(table) {
    const heads = [...table.tHead.rows[0].cells];
    if (heads.length <= WIDE) return;
    left.set(table, new Set());
    const fold = document.createElement("details");
    fold.className = "columns";
    const summary = fold.appendChild(document.createElement("summary"));
    summary.textContent = "Columns";
    const group = fold.appendChild(document.createElement("fieldset"));
    group.className = "keys";
    group.appendChild(document.createElement("legend")).textContent = "Shown";
    heads.slice(1).forEach((head, at) => {
      const label = group.appendChild(document.createElement("label"));
      const box = label.appendChild(document.createElement("input"));
      box.type = "checkbox";
      box.checked = true;
      label.append(head.textContent);
      box.addEventListener("change", () => {
        left.get(table)[box.checked ? "delete" : "add"](at + 1);
        leave(table);
      });
    });
    table.closest(".scroll").before(fold);
  }

  function leave(table) {
    const out = left.get(table);
    if (!out) return;
    for (const row of table.rows) [...row.cells].forEach((cell, at) => { cell.hidden = out.has(at); });
  }

  // Any two runs beside each other.
  function pairing(root) {
    const { facts, settings } = JSON.parse(root.querySelector(".pair-data").textContent);
    const [one, other] = root.querySelectorAll("select");
    const value = ([, values, places], run) => values[places ? places[run] : 0];
    const row = (...texts) => {
      const made = document.createElement("tr");
      texts.forEach((text, at) => {
        const cell = made.appendChild(document.createElement(at ? "td" : "th"));
        if (!at) cell.scope = "row";
        cell.textContent = text;
      });
      return made;
    };
    const show = () => {
      const [a, b] = [Number(one.value), Number(other.value)];
      root.querySelector(".a").textContent = one.selectedOptions[0].textContent;
      root.querySelector(".b").textContent = other.selectedOptions[0].textContent;
      root.querySelector(".facts").replaceChildren(...facts.map(([name, of]) => row(name, of[a], of[b])));
      const differ = settings.filter((each) => value(each, a) !== value(each, b));
      const alike = settings.filter((each) => value(each, a) === value(each, b));
      root.querySelector(".differ").replaceChildren(...differ.map((each) => row(each[0], value(each, a), value(each, b))));
      root.querySelector(".alike").replaceChildren(...alike.map((each) => row(each[0], value(each, a))));
      root.querySelector(".count").textContent = differ.length;
    };
    for (const select of [one, other]) select.addEventListener("change", show);
  }

  function equip(root) {
    for (const table of root.querySelectorAll("table[data-sortable]")) {
      choosable(table);
      sortable(table);
    }
    for (const pair of root.querySelectorAll(".pair")) pairing(pair);
    for (const tools of root.querySelectorAll(".tools")) tools.hidden = false;
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-zoom]");
    if (!button) return;
    const found = plots.get(button.closest(".chart").id);
    if (found) move(found.plot, found.ranges, button.dataset.zoom);
  });

  document.addEventListener("change", (event) => {
    const box = event.target.closest?.("[data-series]");
    if (!box) return;
    const id = box.closest(".chart").id;
    const found = plots.get(id);
    if (!found) return;
    found.hidden[box.checked ? "delete" : "add"](box.dataset.series);
    show(id);
  });

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-every]");
    if (!button) return;
    const chart = button.closest(".chart");
    const found = plots.get(chart.id);
    for (const box of chart.querySelectorAll("[data-series]")) {
      box.checked = button.dataset.every === "show";
      found?.hidden[box.checked ? "delete" : "add"](box.dataset.series);
    }
    if (found) show(chart.id);
  });

  dark.addEventListener("change", paintAll);
  addEventListener("beforeprint", () => {
    printing = true;
    paintAll();
    for (const { plot, view } of plots.values()) { // now: the paper does not wait for the next frame
      for (const drawn of plot.renderers) view.views.get_one(drawn).set_visuals();
      view.repaint();
    }
  });
  addEventListener("afterprint", () => { printing = false; paintAll(); });

  const read = (root) =>
    [...root.querySelectorAll("script.chart-data")].map((one) => [one.dataset.chart, JSON.parse(one.textContent)]);

  async function begin() {
    equip(document);
    for (const [id, chart] of read(document)) await embed(id, chart);
    document.body.dataset.ready = "";
    if ("live" in document.body.dataset) follow();
  }

  // Following runs: a section whose text changed is replaced in place; charts get new numbers, and keep their zoom.

  const EVERY = 2000;
  let version = "";
  const last = new Map();

  async function follow() {
    const contact = document.getElementById("contact");
    let pause = EVERY;
    try {
      const answer = await fetch(`state.json?since=${encodeURIComponent(version)}`, { cache: "no-store" });
      if (!answer.ok && answer.status !== 304) throw new Error(String(answer.status));
      if (answer.status === 200) await update(await answer.json());
      const state = document.getElementById("state").dataset.state;
      contact.textContent = state === "running" ? "updated as the runs go on" : "still looking for changes";
      if (state === "complete") pause = 5 * EVERY;
    } catch {
      contact.textContent = "the server does not answer: this is the last state it told";
    }
    setTimeout(follow, pause);
  }

  async function update(told) {
    version = told.version;
    text("title", told.title);
    text("lede", told.lede);
    document.title = `${told.title} · fvlm report`;
    const state = document.getElementById("state");
    if (state.dataset.state !== told.state) {
      state.dataset.state = told.state;
      state.textContent = told.state;
    }
    const ids = [...document.querySelectorAll("main > section")].map((one) => one.id);
    const changed = Object.values(told.charts).some(
      ({ structure }, at) => document.getElementById(Object.keys(told.charts)[at])?.dataset.structure !== structure,
    );
    if (changed || ids.join() !== Object.keys(told.sections).join()) return reload();
    for (const [id, html] of Object.entries(told.sections)) {
      if (last.has(id) && last.get(id) === html) continue;
      last.set(id, html);
      patch(document.getElementById(id), parsed(html));
    }
    for (const [id, { series, ranges }] of Object.entries(told.charts)) {
      const found = plots.get(id);
      if (found) renew(found, series, ranges);
    }
  }

  function text(id, value) {
    const place = document.getElementById(id);
    if (place.textContent !== value) place.textContent = value;
  }

  function parsed(html) {
    const made = document.createElement("template");
    made.innerHTML = html;
    return made.content;
  }

  // What a reader holds (an open table, a focused button, a sorted column, a hidden run) is left as it is.
  function patch(section, fresh) {
    const kept = (root) => [...root.querySelectorAll("table, .chart .end, .plot, .warnings, .block > p, .notes")];
    const [old, made] = [kept(section), kept(fresh)];
    const alike = old.length === made.length && old.every((one, at) => one.tagName === made[at].tagName && one.id === made[at].id);
    if (!alike) {
      for (const plot of section.querySelectorAll(".plot")) fresh.querySelector(`#${CSS.escape(plot.id)}`)?.replaceWith(plot);
      section.replaceChildren(fresh);
      equip(section);
      return;
    }
    old.forEach((one, at) => {
      if (one.tagName === "TABLE") rows(one, made[at]);
      else if (one.matches(".plot")) one.setAttribute("aria-label", made[at].getAttribute("aria-label"));
      else if (one.innerHTML !== made[at].innerHTML) one.replaceChildren(...made[at].childNodes);
    });
  }

  function rows(table, made) {
    if (table.caption.textContent !== made.caption.textContent) table.caption.textContent = made.caption.textContent;
    table.tBodies[0].replaceWith(made.tBodies[0]);
    const heads = [...table.tHead.rows[0].cells];
    const at = heads.findIndex((head) => head.hasAttribute("aria-sort"));
    if (at >= 0) sort(table, at, heads[at].getAttribute("aria-sort") === "ascending" ? 1 : -1);
    leave(table);
  }

  function renew(found, series, ranges) {
    const { plot } = found;
    const whole = ["x", "y"].every((axis) => {
      const range = plot[`${axis}_range`];
      const near = (a, b) => Math.abs(a - b) <= 1e-9 * Math.max(Math.abs(a), Math.abs(b), 1e-300);
      return near(range.start, found.ranges[axis][0]) && near(range.end, found.ranges[axis][1]);
    });
    for (const [name, values] of Object.entries(series)) {
      const source = plot.document.get_model_by_name(`${name}-source`);
      if (source) source.data = values;
    }
    found.ranges = ranges;
    if (whole) move(plot, ranges, "reset");
  }

  // Runs came or went: the page is asked for anew, and its parts take the place of the old ones.
  async function reload() {
    const answer = await fetch("./", { cache: "no-store" });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const focused = document.activeElement?.id;
    document.querySelector("main").replaceChildren(...fresh.querySelector("main").childNodes);
    document.querySelector("nav ul").replaceChildren(...fresh.querySelector("nav ul").childNodes);
    last.clear();
    equip(document.querySelector("main"));
    for (const [id, chart] of read(fresh)) {
      for (const series of plots.get(id)?.hidden ?? []) {
        const box = document.querySelector(`#${CSS.escape(id)} [data-series="${CSS.escape(series)}"]`);
        if (box) box.checked = false;
      }
      await embed(id, chart);
    }
    if (focused) document.getElementById(focused)?.focus();
  }

  begin();
})();
