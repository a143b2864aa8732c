// A card on the page: its frame once, its content at every change of the filters.

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, text] of Object.entries(value)) made.style.setProperty(key, text);
    else if (value !== false && value !== null) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

function shape(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function buildCard(card, holder) {
  const isNumber = card.chart === "number";
  const about = element("p", { class: "about", id: `about-${card.id}` }, card.description);
  const figure = element("div", { class: "chart" });
  const legend = element("ul", { class: "legend", "aria-hidden": "true", hidden: true });
  const behind = element("details", { class: "behind" }, element("summary", {}, "Show as table"));
  behind.addEventListener("toggle", () => fillBehind(card));
  const node = element(
    "article",
    {
      class: `card${isNumber ? " number-card" : ""}`,
      id: card.id,
      "data-chart": card.chart,
      "aria-labelledby": `title-${card.id}`,
      "aria-describedby": about.id,
      style: { "--width": card.place.width, "--height": card.place.height },
    },
    element("h3", { id: `title-${card.id}` }, card.title),
  );
  if (isNumber) {
    node.append(
      element("p", { class: "figure" }),
      element("p", { class: "change" }),
      about,
      element("div", { class: "spark", "aria-hidden": "true" }),
    );
  } else {
    node.append(about, legend, figure);
    if (card.chart !== "table") node.append(behind);
  }
  Object.assign(card, { node, figure, legend, behind });
  holder.append(node);
}

// ---------------------------------------------------------------- tables
function cellOf(card, row, name, isShort) {
  const value = row[name];
  const text = (isShort ? showShort : show)(name, value);
  const kinds = ["number"];
  if (value === 0) kinds.push("zero");
  if (isUnpriced(name, value)) kinds.push("unpriced");
  const cell = element(
    "td",
    { class: kinds.join(" "), title: isShort && text !== show(name, value) ? show(name, value) : null },
    text,
  );
  return cell;
}

function tableOf(card, rows, isShort = false) {
  const measures = card.measures.map((measure) => measure.name);
  // A bar behind the figure that the rows are ordered by.
  const [by, direction] = card.order_by.split(" ");
  const barred = isShort && direction === "desc" && measures.includes(by) && !/_date$/.test(by) ? by : "";
  const most = Math.max(...rows.map((row) => row[barred] || 0), 0);
  const head = [
    ...card.dimensions.map((name) => element("th", { scope: "col" }, nameOf(name))),
    ...measures.map((name) => element("th", { scope: "col", class: "number" }, nameOf(name))),
  ];
  const body = rows.map((row) =>
    element(
      "tr",
      {},
      ...card.dimensions.map((name, index) => {
        const title = show(name, row[name]) === row[name] ? null : row[name];
        return element(
          index ? "td" : "th",
          { scope: index ? null : "row", title, class: name === "file_path" ? "path" : null },
          show(name, row[name]),
        );
      }),
      ...measures.map((name) => {
        const cell = cellOf(card, row, name, isShort);
        if (name === barred && most) {
          cell.classList.add("barred");
          cell.style.setProperty("--share", `${((100 * (row[name] || 0)) / most).toFixed(1)}%`);
        }
        return cell;
      }),
    ),
  );
  return element(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": `${card.title}: table` },
    element(
      "table",
      {},
      element("caption", { class: "hidden" }, `${card.title}. ${card.description}`),
      element("thead", {}, element("tr", {}, ...head)),
      element("tbody", {}, ...body),
    ),
  );
}

function fillBehind(card) {
  card.behind.querySelector(".scroll")?.remove();
  if (card.behind.open) card.behind.append(tableOf(card, card.rows));
}

// ---------------------------------------------------------------- numbers
function drawNumber(card) {
  const { name } = card.measures[0];
  const value = (range) => rollUp(card, range, "day")[0]?.[name] ?? null;
  card.rows = rollUp(card, rangeNow(), "day");
  const total = value(rangeNow());
  const figure = card.node.querySelector(".figure");
  figure.textContent = total === null ? NOTHING : showShort(name, total);
  figure.title = total === null ? "" : show(name, total);
  card.node.dataset.value = total === null ? "" : String(total);
  const change = card.node.querySelector(".change");
  if (isUnpriced(name, total) && card.rows.length) change.textContent = "no price is known";
  else if (total === null) change.textContent = card.empty || "nothing in this period";
  else change.replaceChildren(...changeOf(name, value, comparison()));
  drawSpark(card, name);
}

function changeOf(name, value, compared) {
  if (!compared) return ["no earlier period to compare with"];
  const [now, before] = [value(compared.now), value(compared.before)];
  if (now === null || !before) return [`nothing in ${compared.text} to compare with`];
  const isRatio = name.endsWith("_ratio");
  const delta = isRatio ? (now - before) * 100 : (now / before - 1) * 100;
  const isSame = Math.abs(delta) < 0.05;
  const tone = isRatio && Math.abs(delta) >= 0.5 ? (delta > 0 ? "good" : "bad") : "";
  const size = number(Math.abs(delta), Math.abs(delta) < 100 ? 1 : 0);
  const amount = isRatio ? `${size} points` : delta < 1000 ? `${size}%` : `×${compact(now / before)}`;
  const text = `${isSame ? "±" : delta > 0 ? "▲" : "▼"} ${amount}`;
  const chip = element("b", { class: `chip ${tone}` }, text);
  if (compared.isWeek) chip.title = `${showShort(name, now)} in the last 7 days`;
  return [chip, ` ${compared.isWeek ? "week on week" : `on ${compared.text}`}`];
}

function drawSpark(card, name) {
  const holder = card.node.querySelector(".spark");
  holder.replaceChildren();
  const range = rangeNow();
  const grain = daysOf(range) > 120 ? "week" : "day";
  const rows = rollUp({ ...card, dimensions: ["activity_date"], order_by: "" }, range, grain);
  const found = new Map(rows.map((row) => [row.activity_date, row[name]]));
  const isRatio = name.endsWith("_ratio");
  const days = daysBetween(
    { grain, range },
    rows.map((row) => ({ x: row.activity_date })),
  );
  const known = days
    .map((day, index) => [index, found.get(day) ?? (isRatio ? null : 0)])
    .filter(([, value]) => value !== null);
  if (known.length < 2) return;
  const values = known.map(([, value]) => value);
  const low = isRatio ? Math.min(...values) : 0;
  const high = Math.max(...values);
  const across = (index) => ((index / (days.length - 1)) * 100).toFixed(2);
  const path = known
    .map(([index, value]) => `${across(index)},${(29 - ((value - low) / (high - low || 1)) * 26).toFixed(2)}`)
    .join(" L");
  const svg = shape("svg", { viewBox: "0 0 100 30", preserveAspectRatio: "none" });
  svg.append(
    shape("path", {
      d: `M${path} L${across(known.at(-1)[0])},30 L${across(known[0][0])},30 Z`,
      fill: "var(--accent)",
      opacity: "0.12",
    }),
    shape("path", {
      d: `M${path}`,
      fill: "none",
      stroke: "var(--accent)",
      "stroke-width": "1.6",
      "stroke-linejoin": "round",
      "vector-effect": "non-scaling-stroke",
    }),
  );
  holder.append(svg);
}

// ---------------------------------------------------------------- charts and tables
const grainOf = (card) =>
  daysOf(rangeNow()) > 120 || (card.grain === "week" && daysOf(rangeNow()) > 21) ? "week" : "day";
const threadName = () => (state.thread === "1" ? "subagents" : "main thread");

function noticesOf(card, grain) {
  const cube = model.cubes[card.query];
  const notices = [];
  if (card.dimensions[0] === "activity_date" && grain !== card.grain) notices.push(`Drawn by ${grain}.`);
  if (cube.note) notices.push(cube.note);
  if (card.unfiltered) notices.push(card.unfiltered, "Filters do not apply.");
  const ignored = card.unfiltered
    ? []
    : Object.entries(FILTERS)
        .filter(([column, key]) => state[key] !== "" && !cube.columns[column])
        .map(([, key]) => key);
  if (ignored.length) notices.push(`Not filtered by ${ignored.join(" or ")}: these rows have none.`);
  return notices;
}

function emptyNode(card) {
  if (card.empty && !model.cubes[card.query].row_count) return element("p", { class: "empty" }, card.empty);
  const chosen = [state.project && shortNames.get(state.project), state.model, state.thread && threadName()].filter(
    Boolean,
  );
  const what = card.rows.length && card.unit === "usd" ? "No price is known" : "Nothing here";
  const text = `${what} between ${longDay(state.since)} and ${longDay(state.until)}${chosen.length ? ` for ${chosen.join(", ")}` : ""}.`;
  return element("p", { class: "empty" }, text, element("button", { type: "button", onclick: reset }, "Reset filters"));
}

function legendItem(entry) {
  const swatch = element("i", {
    class: entry.isRamp ? "ramp" : entry.isLine ? "line" : "",
    style: entry.color ? { background: entry.color } : {},
  });
  return element("li", {}, swatch, entry.label);
}

async function drawCard(card) {
  const grain = grainOf(card);
  const about = card.node.querySelector(".about");
  const notices = noticesOf(card, grain);
  about.textContent = [card.description, ...notices].join(" ");
  about.classList.toggle("with-notice", notices.length > 0);
  if (card.chart === "number") return drawNumber(card);
  card.rows = rollUp(card, rangeNow(), grain);
  if (card.limit && card.chart !== "row") card.rows = card.rows.slice(0, card.limit);
  fillBehind(card);
  card.view?.finalize();
  card.view = null;
  card.legend.hidden = true;
  const isEmpty = !card.rows.some((row) => card.measures.some((measure) => row[measure.name] !== null));
  card.behind.hidden = isEmpty;
  if (isEmpty) {
    card.node.dataset.drawn = "empty";
    card.figure.replaceChildren(emptyNode(card));
  } else if (card.chart === "table") {
    card.node.dataset.drawn = "table";
    card.figure.classList.add("is-table");
    card.figure.replaceChildren(tableOf(card, card.rows, true));
  } else {
    await drawChart(card, grain);
    card.node.dataset.drawn = "chart";
  }
  return undefined;
}

async function drawChart(card, grain) {
  const form = formOf(card, card.rows);
  card.legend.replaceChildren(...form.legend.map(legendItem));
  card.legend.hidden = !form.legend.length;
  card.figure.replaceChildren();
  card.figure.style.removeProperty("--needed");
  const box = {
    width: Math.max(200, card.figure.clientWidth),
    height: card.figure.clientHeight,
    grain,
    range: rangeNow(),
  };
  const spec = specOf(card, form, box);
  // Few rows need less than a card's height, which a page of one column does not have to keep.
  if (card.chart === "row") card.figure.style.setProperty("--needed", `${spec.height}px`);
  card.view = await vegaEmbed(card.figure, spec, {
    mode: "vega-lite",
    renderer: "svg",
    actions: false,
    hover: false,
    defaultStyle: false,
    tooltip: showTip,
  });
  card.drawnWidth = card.figure.clientWidth;
  // The chart is a picture to a screen reader; its numbers are in the table behind it.
  const svg = card.figure.querySelector("svg");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `${card.title}: a chart of ${card.rows.length} rows, which the table below holds.`);
  for (const name of ["role", "aria-roledescription", "aria-label"]) card.figure.removeAttribute(name);
  for (const child of svg.children) child.setAttribute("aria-hidden", "true");
}

function showTip(_, event, item) {
  const tip = document.getElementById("tip");
  const content = item?.datum?.tip;
  tip.hidden = !content;
  if (!content) return;
  tip.replaceChildren(
    element("p", {}, content.head),
    element(
      "dl",
      {},
      ...content.entries.flatMap((entry) => [
        element("dt", {}, element("i", { style: { background: entry.color || "none" } }), entry.label),
        element("dd", {}, entry.value),
      ]),
    ),
  );
  const { width, height } = tip.getBoundingClientRect();
  const isLow = event.clientY + height + 24 > innerHeight;
  tip.style.left = `${Math.max(8, Math.min(event.clientX + 16, innerWidth - width - 8))}px`;
  tip.style.top = `${isLow ? Math.max(8, event.clientY - height - 12) : event.clientY + 18}px`;
}
