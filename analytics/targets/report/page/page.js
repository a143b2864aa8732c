// The page around the cards: filters, sections, theme, and the order in which all is drawn.

const byId = (id) => document.getElementById(id);
const cards = () => model.dashboards.flatMap((dashboard) => dashboard.cards);
const letOthersWork = () =>
  new Promise((resolve) => {
    const channel = new MessageChannel();
    channel.port1.onmessage = resolve;
    channel.port2.postMessage(0);
  });

// ---------------------------------------------------------------- drawing
let turn = 0;
async function drawAll() {
  turn += 1;
  const mine = turn;
  keptRows.clear();
  byId("tip").hidden = true;
  document.documentElement.dataset.ready = "false";
  drawHead();
  const distance = ({ node }) => {
    const { top, bottom } = node.getBoundingClientRect();
    return bottom < 0 ? 1e6 - top : top;
  };
  const nearest = cards()
    .map((card) => [distance(card), card])
    .sort(([a], [b]) => a - b);
  let last = performance.now();
  for (const [, card] of nearest) {
    await drawCard(card);
    if (performance.now() - last > 40) {
      await letOthersWork();
      last = performance.now();
    }
    if (mine !== turn) return;
  }
  document.documentElement.dataset.ready = "true";
  document.documentElement.dataset.elapsedMs = String(Math.round(performance.now()));
  byId("status").textContent = `Charts show ${longDay(state.since)} to ${longDay(state.until)}.`;
}

function unpricedNote() {
  const cube = model.cubes.usage;
  const counts = cube.columns["sum:unpriced_request_count"].data;
  const rows = rowsInForce(cube, rangeNow()).filter((row) => counts[row] > 0);
  if (!rows.length) return null;
  const names = [...new Set(rows.map((row) => readCell(cube, "model_name", row)))];
  const named = `${names.slice(0, 4).join(", ")}${names.length > 4 ? ` and ${names.length - 4} more models` : ""}`;
  const count = rows.reduce((sum, row) => sum + counts[row], 0);
  return element(
    "p",
    { class: "note", id: "unpriced" },
    `${number(count)} requests of ${named} have no known price. Their tokens count; their cost is in no total here.`,
  );
}

function drawHead() {
  const period = `${longDay(state.since)} – ${longDay(state.until)}`;
  const chosen = [
    period,
    state.project ? shortNames.get(state.project) : "all projects",
    state.model,
    state.thread && threadName(),
  ];
  byId("subtitle").textContent =
    `${chosen.filter(Boolean).join(" · ")} · costs are estimated at list prices, not billed`;
  byId("unpriced")?.remove();
  const note = unpricedNote();
  if (note) byId("main").prepend(note);
  for (const button of byId("presets").children) {
    button.setAttribute(
      "aria-pressed",
      String(button.dataset.since === String(state.since) && state.until === model.last),
    );
  }
  for (const id of ["since", "until"]) if (byId(id) !== document.activeElement) byId(id).value = isoDay(state[id]);
  for (const id of ["project", "model", "thread"]) byId(id).value = state[id];
}

// ---------------------------------------------------------------- what is chosen
const defaults = () => ({
  since: model.last - model.first > 60 ? model.last - 29 : model.first,
  until: model.last,
  project: "",
  model: "",
  thread: "",
});

const withinData = (day) => Math.min(Math.max(day, model.first), model.last);

function change(values) {
  Object.assign(state, values);
  if (state.since > state.until) [state.since, state.until] = [state.until, state.since];
  const fragment = new URLSearchParams({ ...state, since: isoDay(state.since), until: isoDay(state.until) });
  try {
    history.replaceState(null, "", `#${fragment}`);
  } catch {
    /* some viewers allow no history; the filters work without */
  }
  return drawAll();
}

function reset() {
  return change(defaults());
}

function readFragment() {
  const found = new URLSearchParams(location.hash.slice(1));
  const values = defaults();
  for (const name of ["since", "until"]) {
    const day = dayNumber(found.get(name) || "");
    if (Number.isFinite(day)) values[name] = withinData(day);
  }
  if (model.projects.includes(found.get("project"))) values.project = found.get("project");
  if (model.models.includes(found.get("model"))) values.model = found.get("model");
  if (["0", "1"].includes(found.get("thread"))) values.thread = found.get("thread");
  return values;
}

// ---------------------------------------------------------------- building
function prepareTheme() {
  const setTheme = (theme) => {
    document.documentElement.dataset.theme = theme;
  };
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  try {
    chosen = localStorage.getItem("theme");
  } catch {
    /* file:// may have no storage */
  }
  setTheme(chosen || (dark.matches ? "dark" : "light"));
  dark.addEventListener("change", () => {
    if (!chosen) setTheme(dark.matches ? "dark" : "light");
  });
  byId("theme").addEventListener("click", () => {
    chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    setTheme(chosen);
    try {
      localStorage.setItem("theme", chosen);
    } catch {
      /* see above */
    }
  });
}

function buildFilters() {
  const option = (value, text) => element("option", { value }, text);
  byId("project").append(
    option("", "All projects"),
    ...model.projects.map((path) => option(path, shortNames.get(path))),
  );
  byId("model").append(option("", "All models"), ...model.models.map((name) => option(name, name)));
  const presets = [
    [7, "7 d"],
    [30, "30 d"],
    [90, "90 d"],
    [365, "1 y"],
  ].filter(([count]) => count < model.last - model.first + 1);
  for (const [since, text, name] of [
    ...presets.map(([count, label]) => [model.last - count + 1, label, `Last ${count} days`]),
    [model.first, "All", "All days"],
  ]) {
    byId("presets").append(
      element(
        "button",
        {
          type: "button",
          "data-since": since,
          "aria-label": name,
          onclick: () => change({ since, until: model.last }),
        },
        text,
      ),
    );
  }
  for (const id of ["since", "until"]) buildDayField(id, byId(id));
  for (const id of ["project", "model", "thread"])
    byId(id).addEventListener("change", () => change({ [id]: byId(id).value }));
  byId("reset").addEventListener("click", reset);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
}

// A browser calls each typed digit a change. It counts as soon as it makes a period of days that there are;
// what does not is made the nearest such when the field is left.
function buildDayField(id, field) {
  field.min = isoDay(model.first);
  field.max = isoDay(model.last);
  field.addEventListener("change", () => {
    const day = dayNumber(field.value);
    const { since, until } = { ...state, [id]: day };
    if (day === withinData(day) && since <= until) change({ [id]: day });
  });
  field.addEventListener("blur", () => {
    const day = dayNumber(field.value);
    if (day !== state[id]) change({ [id]: Number.isFinite(day) ? withinData(day) : state[id] });
  });
  field.addEventListener("keydown", ({ key }) => {
    if (key !== "Enter") return;
    field.blur();
    field.focus();
  });
}

function buildSections() {
  const links = new Map();
  // The section that is read is the last one whose title has gone under the bar.
  const mark = () => {
    const read =
      model.dashboards.filter(({ slug }) => byId(slug).getBoundingClientRect().top < innerHeight * 0.35).at(-1) ||
      model.dashboards[0];
    const current = links.get(read.slug);
    if (current.hasAttribute("aria-current")) return;
    for (const link of links.values()) link.removeAttribute("aria-current");
    current.setAttribute("aria-current", "true");
    // On a phone the bar is longer than the screen.
    byId("sections").scrollLeft += current.getBoundingClientRect().left - byId("sections").getBoundingClientRect().left;
  };
  for (const dashboard of model.dashboards) {
    const { slug, title } = dashboard;
    const go = (event) => {
      event.preventDefault();
      byId(slug).scrollIntoView();
      byId(slug).focus({ preventScroll: true });
    };
    const link = element("a", { href: `#${slug}`, onclick: go }, title);
    links.set(slug, link);
    byId("sections").append(link);
    const grid = element("div", { class: "grid" });
    byId("main").append(
      element(
        "section",
        { id: slug, tabindex: "-1", "aria-labelledby": `title-${slug}` },
        element("h2", { id: `title-${slug}` }, title),
        element("p", { class: "about" }, dashboard.description),
        grid,
      ),
    );
    for (const card of dashboard.cards) {
      card.id = `${slug}-${card.name}`;
      buildCard(card, grid);
    }
  }
  addEventListener("scroll", mark, { passive: true });
  mark();
}

function redrawWhenResized() {
  let waiting = 0;
  new ResizeObserver(() => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      if (cards().some((card) => card.view && Math.abs(card.figure.clientWidth - card.drawnWidth) > 8)) drawAll();
    }, 120);
  }).observe(byId("main"));
}

function freshness({ published_at: published, newest_at: newest }) {
  const hours = (Date.parse(`${published.replace(" ", "T")}Z`) - Date.parse(`${newest.replace(" ", "T")}Z`)) / 3600000;
  if (!Number.isFinite(hours)) return `Published ${published} UTC`;
  const age =
    hours < 1 ? "less than an hour" : hours < 48 ? `${Math.round(hours)} h` : `${Math.round(hours / 24)} days`;
  return `Published ${published} UTC, newest record ${age} older`;
}

function build() {
  const { page } = model;
  byId("synthetic").hidden = !page.is_synthetic;
  byId("freshness").textContent = freshness(page);
  byId("footer").textContent =
    `Published ${page.published_at} UTC by run ${page.run_id}. Newest record ${page.newest_at || "none"} UTC. Days and hours are in ${page.timezone}. Costs are estimated at list prices and are not a bill. This page holds its data and asks the network nothing.`;
  const cubes = Object.values(model.cubes);
  const valuesOf = (column) => [...new Set(cubes.flatMap((cube) => cube.columns[column]?.values || []))].sort();
  model.first = Infinity;
  model.last = -Infinity;
  for (const cube of cubes.filter((entry) => !isOfPipeline(entry))) {
    for (const day of cube.columns.activity_date.data) {
      if (day < model.first) model.first = day;
      if (day > model.last) model.last = day;
    }
  }
  if (!Number.isFinite(model.first)) {
    byId("bar").hidden = true;
    byId("main").append(
      element(
        "div",
        { class: "welcome" },
        element("h2", {}, "Nothing to show yet"),
        element(
          "p",
          {},
          "No session has been read. Use Claude Code, then run ",
          element("code", {}, "analytics run"),
          ". If you have used it, ",
          element("code", {}, "analytics doctor"),
          " tells where the transcripts are looked for.",
        ),
      ),
    );
    document.documentElement.dataset.ready = "true";
    return undefined;
  }
  model.projects = valuesOf("project_path");
  model.models = valuesOf("model_name");
  nameProjects(model.projects);
  nameModels(model.models);
  buildFilters();
  buildSections();
  redrawWhenResized();
  // A link to a place on the page chooses nothing.
  addEventListener("hashchange", () => location.hash.includes("=") && change(readFragment()));
  return change(readFragment());
}

async function start() {
  prepareTheme();
  const [data, library] = await Promise.all([unpack("data"), unpack("library")]);
  document.head.append(Object.assign(document.createElement("script"), { textContent: library }));
  model = JSON.parse(data);
  await build();
  window.report = { model, state, change, rollUp, cards, rangeNow, show };
}

start().catch((error) => {
  document.documentElement.dataset.ready = "failed";
  byId("main").append(
    element(
      "p",
      { class: "note" },
      `This page could not be drawn: ${error.message}. A browser from 2023 or later is needed.`,
    ),
  );
  throw error;
});
