"use strict";
// The page computes everything from the cubes inside it: rows at the finest grain, rolled up under the
// filters by the same definitions that become Metabase's questions. It never asks the network anything.
(() => {
  const byId = (id) => document.getElementById(id);
  const DAY = 86400000;
  const PALETTE = ["var(--c0)", "var(--c1)", "var(--c2)", "var(--c3)", "var(--c4)", "var(--c5)", "var(--c6)"];
  const OTHER = "other";
  const WEEKDAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
  const FILTER_NAMES = { project_path: "project", model_name: "model", is_sidechain: "thread" };
  const NAMES = {
    activity_date: "Day", project_path: "Project", model_name: "Model", is_sidechain: "Thread", tool_name: "Tool",
    tool_category: "Category", file_path: "File", file_type: "Kind of file", hour_of_day_local: "Hour", day_of_week: "Weekday",
    block_started_at: "Block start (UTC)", hourly_burn_usd: "Burn rate per hour", failure_ratio: "Failed share",
    estimated_cost_usd: "Estimated cost", cache_savings_usd: "Cache savings", success_count: "Succeeded",
    projected_cost_usd: "At this pace", failed_tool_call_count: "Failed", tool_call_count: "Calls", final_ratio: "Final share",
    unpriced_request_count: "Unpriced requests", timed_tool_call_count: "With duration", cache_hit_ratio: "Read from cache",
    cache_creation_tokens: "Cache write tokens", success_ratio: "Success", mean_message_count: "Messages",
    mean_human_prompt_count: "Prompts", mean_duration_ms: "Mean duration", added_line_count: "Lines added",
    removed_line_count: "Lines removed", duration_range: "Session length", changed_file_range: "Files changed",
    session_hour_count: "Session hours", first_active_date: "First day", last_active_date: "Last day", last_changed_date: "Last change",
    period_type: "Period", human_prompt_count: "Prompts", unanswered_count: "No answer", rejected_count: "Rejected", interrupted_count: "Interrupted",
  };

  const element = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "class") made.className = value;
      else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (name === "style") for (const [key, text] of Object.entries(value)) made.style.setProperty(key, text);
      else if (value !== false && value !== null) made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children.filter((child) => child !== null));
    return made;
  };

  // ---------------------------------------------------------------- data
  async function unpack(id) {
    const bytes = Uint8Array.from(atob(byId(id).textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  // A value of a column as the page shows and sorts it; money comes in nano-dollars so that sums are exact.
  const readCell = (cube, name, row) => {
    const column = cube.columns[name];
    const value = column.data[row];
    return column.values && value !== null ? column.values[value] : value;
  };

  let model = null;
  const state = { since: 0, until: 0, project: "", model: "", thread: "" };
  const projectNames = new Map();

  const nameProjects = (paths) => {
    const last = (path, count) => path.split("/").filter(Boolean).slice(-count).join("/") || path;
    for (const path of paths) {
      let count = 1;
      while (count < 4 && paths.some((other) => other !== path && last(other, count) === last(path, count))) count += 1;
      projectNames.set(path, last(path, count));
    }
  };

  function rowsOf(cube, range) {
    const date = cube.columns.activity_date;
    const wanted = [];
    for (const [column, key] of Object.entries(FILTER_NAMES)) {
      if (state[key] === "" || !cube.columns[column]) continue;
      const { values } = cube.columns[column];
      const value = key === "thread" ? Number(state[key]) : state[key];
      wanted.push([cube.columns[column].data, values ? values.indexOf(value) : value]);
    }
    const rows = [];
    const count = cube.row_count;
    for (let row = 0; row < count; row += 1) {
      if (range && date && (date.data[row] < range.since || date.data[row] > range.until)) continue;
      let isKept = true;
      for (const [data, value] of wanted) if (data[row] !== value) { isKept = false; break; }
      if (isKept) rows.push(row);
    }
    return rows;
  }

  const monday = (day) => day - ((((day + 3) % 7) + 7) % 7);
  const scaleOf = (name) => (name.endsWith("_usd") ? 1e-9 : 1);

  // Rows under the filters in force, kept while these last: a dozen cards share a cube.
  const kept = new Map();
  function keptRows(cube, range) {
    const key = `${cube.name}|${range ? `${range.since}|${range.until}` : ""}`;
    if (!kept.has(key)) kept.set(key, rowsOf(cube, range));
    return kept.get(key);
  }

  const GROUPS = 1 << 20;
  const columnOf = (cube, fn, name) => cube.columns[cube.columns[name] ? name : `${fn}:${name}`].data;

  // One aggregate for every group at once.
  function foldAll(cube, fn, name, rows, groupOf, count) {
    const data = columnOf(cube, fn, name);
    const totals = new Array(count).fill(null);
    for (let index = 0; index < rows.length; index += 1) {
      const value = data[rows[index]];
      if (value === null) continue;
      const group = groupOf[index];
      const before = totals[group];
      if (before === null) totals[group] = value;
      else if (fn === "sum") totals[group] = before + value;
      else if (fn === "min" ? value < before : value > before) totals[group] = value;
    }
    const scale = scaleOf(name);
    return scale === 1 ? totals : totals.map((value) => (value === null ? null : value * scale));
  }

  // The rows of a card: one per combination of its dimensions, in its order.
  function rollUp(card, range, grain) {
    const cube = model.cubes[card.query];
    const rows = keptRows(cube, card.unfiltered ? null : range);
    const codes = card.dimensions.map((name) => cube.columns[name].data);
    const isWeekly = card.dimensions[0] === "activity_date" && grain === "week";
    const groups = new Map();
    const firsts = [];
    const groupOf = new Int32Array(rows.length);
    for (let index = 0; index < rows.length; index += 1) {
      const row = rows[index];
      let key = 0;
      if (codes.length) {
        key = isWeekly ? monday(codes[0][row]) : codes[0][row];
        // A dictionary's index or a small number: the two together stay exact in a double.
        if (codes.length > 1) key = key * GROUPS + codes[1][row];
      }
      let group = groups.get(key);
      if (group === undefined) {
        group = firsts.length;
        groups.set(key, group);
        firsts.push(row);
      }
      groupOf[index] = group;
    }
    const measured = card.measures.map((measure) => {
      const top = foldAll(cube, measure.function, measure.column, rows, groupOf, firsts.length);
      if (!measure.divisor_column) return top;
      const below = foldAll(cube, measure.divisor_function, measure.divisor_column, rows, groupOf, firsts.length);
      return top.map((value, group) => (value === null || !below[group] ? null : value / below[group]));
    });
    const result = firsts.map((row, group) => {
      const entry = {};
      card.dimensions.forEach((name, index) => {
        const value = readCell(cube, name, row);
        entry[name] = index === 0 && isWeekly ? monday(value) : value;
      });
      card.measures.forEach((measure, index) => { entry[measure.name] = measured[index][group]; });
      return entry;
    });
    const [by, direction] = card.order_by ? card.order_by.split(" ") : [card.dimensions[0], "asc"];
    const sign = direction === "desc" ? -1 : 1;
    const compare = (a, b) => {
      if (a === b) return 0;
      if (a === null) return 1;
      if (b === null) return -1;
      return (a < b ? -1 : 1) * sign;
    };
    result.sort((a, b) => compare(a[by], b[by]) || (String(a[card.dimensions[0]]) < String(b[card.dimensions[0]]) ? -1 : 1));
    return result;
  }

  // ---------------------------------------------------------------- words
  const nameOf = (name) => NAMES[name] || name.replace(/_count$/, "s").replace(/_(ms|ratio|usd|date|at)$/, "").replace(/_/g, " ").replace(/^./, (c) => c.toUpperCase());
  const isoDay = (day) => new Date(day * DAY).toISOString().slice(0, 10);
  const dayNumber = (text) => Math.round(Date.parse(`${text}T00:00:00Z`) / DAY);
  const shortDay = (day) => new Date(day * DAY).toLocaleDateString("en", { day: "numeric", month: "short", timeZone: "UTC" });
  const longDay = (day) => new Date(day * DAY).toLocaleDateString("en", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
  const number = (value, digits = 0) => value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const compact = (value) => value.toLocaleString("en", { notation: "compact", maximumSignificantDigits: 3 });
  const duration = (ms) => {
    if (ms < 1000) return `${Math.round(ms)} ms`;
    if (ms < 60000) return `${number(ms / 1000, 1)} s`;
    if (ms < 3600000) return `${number(ms / 60000, 1)} min`;
    return `${number(ms / 3600000, 1)} h`;
  };
  function show(name, value) {
    if (value === null || value === undefined) return name.endsWith("_usd") ? "no price" : "–";
    if (name === "is_sidechain") return value ? "subagents" : "main thread";
    if (name === "project_path") return projectNames.get(value) || value;
    if (name === "day_of_week") return WEEKDAYS[value - 1];
    if (name === "hour_of_day_local") return `${String(value).padStart(2, "0")}:00`;
    if (name.endsWith("_range")) return value.slice(2);
    if (name.endsWith("_date")) return isoDay(value);
    if (name.endsWith("_at")) return `${isoDay(value / DAY)} ${new Date(value).toISOString().slice(11, 16)}`;
    if (typeof value === "string") return value.replace(/_/g, (c) => (name === "tool_name" || name === "file_path" || name === "model_name" ? c : " "));
    if (name.endsWith("_usd")) return `$${number(value, Math.abs(value) < 1000 ? 2 : 0)}`;
    if (name.endsWith("_ms")) return duration(value);
    if (name.endsWith("_ratio")) return `${number(value * 100, 1)} %`;
    if (name.startsWith("mean_")) return number(value, 1);
    return number(value);
  }
  const isMeasure = (card, name) => card.measures.some((measure) => measure.name === name);

  // ---------------------------------------------------------------- charts
  const colors = new Map();
  function colorsFor(column) {
    if (!colors.has(column)) {
      const totals = new Map();
      for (const cube of Object.values(model.cubes)) {
        const found = cube.columns[column];
        if (!found || !found.values) continue;
        const weight = cube.columns["sum:total_tokens"] || cube.columns["sum:tool_call_count"] || cube.columns["sum:session_count"] || cube.columns["sum:request_count"];
        if (!weight) continue;
        found.data.forEach((index, row) => {
          const key = found.values[index];
          totals.set(key, (totals.get(key) || 0) + (weight.data[row] || 0));
        });
        break;
      }
      const order = [...totals.keys()].sort((a, b) => totals.get(b) - totals.get(a)).slice(0, PALETTE.length);
      colors.set(column, new Map(order.map((key, index) => [key, PALETTE[index]])));
    }
    return colors.get(column);
  }
  const SERIES_COLORS = { failed_tool_call_count: "var(--failed)", removed_line_count: "var(--failed)", added_line_count: "var(--c2)", success_count: "var(--c0)", cache_savings_usd: "var(--c2)" };

  const axisOf = (card, values) => {
    const most = Math.max(0, ...values.filter((value) => value !== null));
    if (card.unit === "ms") {
      const [divisor, title] = most >= 5400000 ? [3600000, "hours"] : most >= 90000 ? [60000, "minutes"] : most >= 1500 ? [1000, "seconds"] : [1, "milliseconds"];
      return { divisor, title, format: "~g" };
    }
    if (card.unit === "usd") return { divisor: 1, title: "USD", format: most >= 10000 ? "$~s" : most >= 8 ? "$,.0f" : "$,.2f" };
    if (card.unit === "ratio") return { divisor: 1, title: "share", format: ".0%" };
    return { divisor: 1, title: card.unit, format: most >= 10000 ? "~s" : ",~g" };
  };

  const rem = () => parseFloat(getComputedStyle(document.documentElement).fontSize);
  function configOf() {
    const size = rem() * 0.76;
    const text = "var(--muted)";
    return {
      font: getComputedStyle(document.body).fontFamily,
      view: { stroke: null },
      axis: { labelColor: text, titleColor: text, labelFontSize: size, titleFontSize: size, titleFontWeight: 500, gridColor: "var(--grid)", domainColor: "var(--line)", tickColor: "var(--line)", labelPadding: 4, titlePadding: 8 },
      axisY: { domain: false, ticks: false, tickCount: 5 },
      axisX: { grid: false },
      bar: { cornerRadiusEnd: 1.5 },
    };
  }
  const quantitative = (axis, extra = {}) => ({
    title: axis.title,
    tickCount: 5,
    labelExpr: `replace(format(datum.value, ${JSON.stringify(axis.format)}), "G", "B")`,
    ...extra,
  });

  function specOf(card, rows, box) {
    const make = { bar: specOfBars, line: specOfLines, area: specOfLines, row: specOfRows, heatmap: specOfHeat }[card.chart];
    const spec = make(card, rows, box);
    return spec && {
      ...spec,
      width: box.width,
      autosize: { type: "fit", contains: "padding" },
      background: null,
      config: configOf(),
    };
  }

  // Long form: one entry per x, series and value, the small series folded into "other".
  function longForm(card, rows) {
    const split = card.dimensions[1];
    if (!split) {
      return {
        keys: card.series.map((name) => ({ key: name, label: nameOf(name), color: SERIES_COLORS[name] })),
        points: rows.flatMap((row) => card.series.map((name) => ({ x: row[card.dimensions[0]], key: name, y: row[name] }))),
      };
    }
    const palette = colorsFor(split);
    const merged = new Map();
    for (const row of rows) {
      const key = palette.has(row[split]) || palette.size === 0 ? row[split] : OTHER;
      const id = `${row[card.dimensions[0]]}\u0001${key}`;
      if (!merged.has(id)) merged.set(id, { x: row[card.dimensions[0]], key, y: null });
      const point = merged.get(id);
      if (row[card.series[0]] !== null) point.y = (point.y || 0) + row[card.series[0]];
    }
    const present = new Set([...merged.values()].filter((point) => point.y !== null).map((point) => point.key));
    const keys = [...(palette.size ? palette.keys() : present)].filter((key) => present.has(key)).map((key) => ({ key, label: show(split, key), color: palette.get(key) }));
    if (present.has(OTHER) && palette.size) keys.push({ key: OTHER, label: OTHER, color: "var(--other)" });
    return { keys, points: [...merged.values()].filter((point) => point.y !== null) };
  }
  const paint = (keys) => {
    keys.forEach((entry, index) => { entry.color = entry.color || PALETTE[index % PALETTE.length]; });
    return { type: "nominal", scale: { domain: keys.map((entry) => entry.key), range: keys.map((entry) => entry.color) }, legend: null };
  };

  function specOfBars(card, rows, box) {
    const time = card.dimensions[0];
    const { keys, points } = longForm(card, rows);
    const axis = axisOf(card, sumBy(points));
    const isTime = time === "activity_date" || time.endsWith("_at");
    let domain = [...new Set(points.map((point) => point.x))];
    if (isTime) domain.sort((a, b) => a - b);
    if (time === "activity_date") {
      const stepDays = box.grain === "week" ? 7 : 1;
      const from = stepDays === 7 ? monday(box.range.since) : box.range.since;
      domain = [];
      for (let day = from; day <= box.range.until; day += stepDays) domain.push(day);
    }
    const per = time === "activity_date" ? ` per ${box.grain}` : "";
    const values = points.filter((point) => point.y !== null).map((point) => {
      const label = keys.find((entry) => entry.key === point.key).label;
      const head = time === "activity_date" ? `${box.grain === "week" ? "Week of " : ""}${longDay(point.x)}` : show(time, point.x);
      const measure = card.dimensions[1] ? card.series[0] : point.key;
      return { x: point.x, key: point.key, y: point.y / axis.divisor, order: keys.findIndex((entry) => entry.key === point.key), tip: `${head}\n${label}: ${show(measure, point.y)}` };
    });
    const isNarrow = box.width / domain.length < rem() * 6;
    const wanted = Math.max(2, Math.floor(box.width / (rem() * 5)));
    const every = isTime ? Math.ceil(domain.length / wanted) : 1;
    const ticks = domain.filter((_, index) => index % every === 0);
    const labels = Object.fromEntries(ticks.map((value) => [value, time === "activity_date" ? shortDay(value) : isTime ? shortDay(value / DAY) : isNarrow ? show(time, value).split(" ") : show(time, value)]));
    box.legend = keys.length > 1 ? keys : [];
    return {
      data: { values },
      mark: { type: "bar" },
      encoding: {
        x: {
          field: "x", type: "ordinal", scale: { domain, paddingInner: domain.length > 90 ? 0.1 : 0.22, paddingOuter: 0.1 },
          axis: { values: ticks, labelExpr: `${JSON.stringify(labels)}[datum.value]`, labelAngle: 0, labelOverlap: isTime, title: null, ticks: isTime },
        },
        y: { field: "y", type: "quantitative", stack: "zero", axis: quantitative(axis, { title: axis.title + per }) },
        color: { field: "key", ...paint(keys) },
        order: { field: "order" },
        tooltip: { field: "tip" },
      },
    };
  }
  const sumBy = (points) => {
    const sums = new Map();
    for (const point of points) sums.set(point.x, (sums.get(point.x) || 0) + (point.y || 0));
    return [...sums.values()];
  };

  function specOfLines(card, rows, box) {
    const { keys, points } = longForm(card, rows);
    // A day without rows is a zero for a sum and a gap for a mean.
    if (card.series.every((name) => !card.measures.find((measure) => measure.name === name).divisor_column)) {
      const known = new Set(points.map((point) => point.x));
      const stepDays = box.grain === "week" ? 7 : 1;
      for (let day = stepDays === 7 ? monday(box.range.since) : box.range.since; day <= box.range.until; day += stepDays) {
        if (!known.has(day)) points.push(...keys.map((entry) => ({ x: day, key: entry.key, y: 0 })));
      }
      points.sort((a, b) => a.x - b.x);
    }
    const axis = axisOf(card, points.map((point) => point.y));
    const values = points.filter((point) => point.y !== null).map((point) => ({
      x: point.x * DAY, key: point.key, y: point.y / axis.divisor,
      tip: `${box.grain === "week" ? "Week of " : ""}${longDay(point.x)}\n${nameOf(point.key)}: ${show(point.key, point.y)}`,
    }));
    const color = { field: "key", ...paint(keys) };
    const isArea = card.chart === "area";
    const points_ = { mark: { type: "point", filled: true, size: rem() ** 2 * (values.length > 160 ? 0.05 : 0.15) }, encoding: { color, tooltip: { field: "tip" } } };
    const first = { filter: `datum.key == ${JSON.stringify(keys[0].key)}` };
    const rest = { filter: `datum.key != ${JSON.stringify(keys[0].key)}` };
    const layers = isArea
      ? [{ transform: [first], mark: { type: "area", opacity: 0.28, line: { color: keys[0].color || PALETTE[0] } }, encoding: { color } }, { transform: [rest], mark: { type: "line", strokeWidth: rem() * 0.13 }, encoding: { color } }, points_]
      : [{ mark: { type: "line", strokeWidth: rem() * 0.15 }, encoding: { color } }, points_];
    box.legend = keys.length > 1 ? keys : [];
    const scale = { zero: true, ...(card.unit === "ratio" ? { domainMax: 1, domainMin: 0 } : {}) };
    return {
      data: { values },
      encoding: {
        x: { field: "x", type: "temporal", scale: { type: "utc" }, axis: { title: null, format: "%b %-d", tickCount: Math.max(2, Math.floor(box.width / (rem() * 6))), labelOverlap: true } },
        y: { field: "y", type: "quantitative", scale, axis: quantitative(axis, { title: card.unit === "ms" || card.unit === "ratio" || card.unit === "usd" ? axis.title : card.unit }) },
      },
      layer: layers,
    };
  }

  function specOfRows(card, rows, box) {
    const name = card.dimensions[0];
    const shown = rows.slice(0, card.limit || 20).filter((row) => card.series.some((series) => row[series] !== null));
    const axis = axisOf(card, shown.map((row) => card.series.reduce((sum, series) => sum + (row[series] || 0), 0)));
    const keys = card.series.map((series) => ({ key: series, label: nameOf(series), color: SERIES_COLORS[series] || (name === "tool_name" || card.series.length > 1 ? undefined : PALETTE[0]) }));
    const color = { field: "key", ...paint(keys) };
    const labelOf = (row) => (card.label ? (`${number(row.tool_call_count)}${row[card.label] ? ` · ${number(row[card.label] * 100, row[card.label] < 0.0995 ? 1 : 0)} % failed` : ""}`) : card.unit === "tokens" ? compact(row[card.series[0]]) : show(card.series[0], row[card.series[0]]));
    const domain = shown.map((row) => show(name, row[name]));
    const values = shown.flatMap((row) => card.series.map((series, order) => ({
      y: show(name, row[name]), key: series, x: (row[series] || 0) / axis.divisor, order,
      tip: `${name === "project_path" ? row[name] : show(name, row[name])}\n${card.measures.map((measure) => `${nameOf(measure.name)}: ${show(measure.name, row[measure.name])}`).join("\n")}`,
    })));
    const ends = shown.map((row) => ({ y: show(name, row[name]), x: card.series.reduce((sum, series) => sum + (row[series] || 0), 0) / axis.divisor, text: labelOf(row) }));
    const most = Math.max(...ends.map((end) => end.x), 0);
    box.legend = keys.length > 1 ? keys : [];
    return {
      encoding: { y: { field: "y", type: "ordinal", scale: { domain, paddingInner: 0.28 }, axis: { title: null, labelLimit: Math.min(220, box.width * 0.36), domain: false, ticks: false } } },
      layer: [
        { data: { values }, mark: { type: "bar", size: Math.min(rem() * 1.7, (card.figure.clientHeight * 0.6) / shown.length) }, encoding: { x: { field: "x", type: "quantitative", stack: "zero", scale: { domainMax: most * (card.label ? (box.width < 560 ? 1.55 : 1.3) : box.width < 420 ? 1.42 : 1.22) || 1 }, axis: quantitative(axis, { grid: true }) }, color, order: { field: "order" }, tooltip: { field: "tip" } } },
        { data: { values: ends }, mark: { type: "text", align: "left", baseline: "middle", dx: 5, fontSize: rem() * 0.76, color: "var(--muted)" }, encoding: { x: { field: "x", type: "quantitative" }, text: { field: "text" } } },
      ],
    };
  }

  function specOfHeat(card, rows, box) {
    const [x, y] = card.dimensions;
    const measure = card.series[0];
    const found = new Map(rows.map((row) => [`${row[x]}|${row[y]}`, row[measure]]));
    const values = [];
    for (let day = 1; day <= 7; day += 1) {
      for (let hour = 0; hour < 24; hour += 1) {
        const value = found.get(`${hour}|${day}`) || 0;
        values.push({ x: hour, y: WEEKDAYS[day - 1], v: value, tip: `${WEEKDAYS[day - 1]} ${show(x, hour)}–${show(x, (hour + 1) % 24)}\n${nameOf(measure)}: ${number(value)}` });
      }
    }
    const most = Math.max(1, ...values.map((value) => value.v));
    box.legend = [{ label: `0 to ${number(most)} ${card.unit}`, isRamp: true }];
    return {
      layer: [
        { data: { values }, mark: { type: "rect", cornerRadius: 2, color: "var(--faint)" } , encoding: { tooltip: { field: "tip" } } },
        { data: { values: values.filter((value) => value.v > 0) }, mark: { type: "rect", cornerRadius: 2, color: "var(--accent)" }, encoding: { opacity: { field: "v", type: "quantitative", scale: { type: "sqrt", domain: [0, most], range: [0.08, 1] }, legend: null }, tooltip: { field: "tip" } } },
      ],
      encoding: {
        x: { field: "x", type: "ordinal", scale: { domain: [...Array(24).keys()], padding: 0.08 }, axis: { title: `hour of day (${model.page.timezone})`, labelAngle: 0, values: [0, 3, 6, 9, 12, 15, 18, 21], domain: false, ticks: false } },
        y: { field: "y", type: "ordinal", scale: { domain: WEEKDAYS, padding: 0.08 }, axis: { title: null, domain: false, ticks: false } },
      },
    };
  }

  // ---------------------------------------------------------------- cards
  function tableOf(card, rows) {
    const names = [...card.dimensions, ...card.measures.map((measure) => measure.name)];
    const isNumber = (name) => isMeasure(card, name) && !name.endsWith("_date");
    return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${card.title}: table` },
      element("table", {},
        element("caption", { class: "hidden" }, `${card.title}. ${card.description}`),
        element("thead", {}, element("tr", {}, ...names.map((name) => element("th", { scope: "col", class: isNumber(name) ? "number" : "" }, nameOf(name))))),
        element("tbody", {}, ...rows.map((row) => element("tr", {}, ...names.map((name, index) => {
          const text = show(name, row[name]);
          const title = name === "project_path" ? row[name] : null;
          if (index === 0 && card.dimensions.length) return element("th", { scope: "row", title }, text);
          const isUnpriced = name.endsWith("_usd") && row[name] === null;
          return element("td", { class: `${isNumber(name) ? "number" : ""}${isUnpriced ? " unpriced" : ""}`, title }, text);
        }))))));
  }

  function buildCard(card, holder) {
    const figure = element("div", { class: "chart" });
    const about = element("p", { class: "about", id: `about-${card.id}` }, card.description);
    const legend = element("ul", { class: "legend", "aria-hidden": "true", hidden: true });
    const behind = element("details", { class: "behind" }, element("summary", {}, "Show as table"));
    behind.addEventListener("toggle", () => {
      behind.querySelector(".scroll")?.remove();
      if (behind.open) behind.append(tableOf(card, card.rows));
    });
    const isNumber = card.chart === "number";
    const made = element("article", { class: `card${isNumber ? " number-card" : ""}`, id: card.id, "aria-labelledby": `title-${card.id}`, "aria-describedby": `about-${card.id}`, "data-chart": card.chart, style: { "--width": card.place.width, "--height": card.place.height } },
      element("h3", { id: `title-${card.id}` }, card.title));
    if (isNumber) made.append(element("p", { class: "figure" }), element("p", { class: "change" }), element("div", { class: "spark", "aria-hidden": "true" }), about);
    else {
      made.append(about, legend, figure);
      if (card.chart !== "table") made.append(behind);
    }
    Object.assign(card, { node: made, figure, legend, behind });
    holder.append(made);
  }

  const rangeNow = () => ({ since: state.since, until: state.until });
  const daysOf = (range) => range.until - range.since + 1;

  // The period before, if the data reaches back that far; else the last week against the one before.
  function comparison() {
    const range = rangeNow();
    const length = daysOf(range);
    if (range.since - length >= model.first) return { now: range, before: { since: range.since - length, until: range.since - 1 }, text: `the ${number(length)} days before` };
    if (length < 14) return null;
    return { now: { since: range.until - 6, until: range.until }, before: { since: range.until - 13, until: range.until - 7 }, text: "the week before", isWeek: true };
  }

  function drawNumber(card) {
    const name = card.measures[0].name;
    const value = (range) => { const rows = rollUp(card, range, "day"); return rows.length ? rows[0][name] : null; };
    card.rows = rollUp(card, rangeNow(), "day");
    const total = card.rows.length ? card.rows[0][name] : null;
    const figure = card.node.querySelector(".figure");
    figure.textContent = total === null ? "–" : name.endsWith("_tokens") ? compact(total) : show(name, total);
    figure.title = total === null ? "" : String(total);
    card.node.dataset.value = total === null ? "" : String(total);
    const change = card.node.querySelector(".change");
    change.replaceChildren();
    const compared = comparison();
    if (compared) {
      const [now, before] = [value(compared.now), value(compared.before)];
      if (now !== null && before) {
        const isRatio = name.endsWith("_ratio");
        const delta = isRatio ? (now - before) * 100 : (now / before - 1) * 100;
        const arrow = Math.abs(delta) < 0.05 ? "±" : delta > 0 ? "▲" : "▼";
        const tone = isRatio ? (delta < -0.05 ? "bad" : delta > 0.05 ? "good" : "") : "";
        const shown = name.endsWith("_tokens") ? compact(now) : show(name, now);
        change.append(compared.isWeek ? `last 7 days ${shown}, ` : "", element("b", { class: tone }, `${arrow} ${number(Math.abs(delta), 1)} ${isRatio ? "points" : "%"}`), ` on ${compared.text}`);
      } else change.textContent = `nothing in ${compared.text} to compare with`;
    } else change.textContent = "no earlier period to compare with";
    drawSpark(card, name);
  }

  function drawSpark(card, name) {
    const holder = card.node.querySelector(".spark");
    const range = rangeNow();
    const grain = daysOf(range) > 120 ? "week" : "day";
    const rows = rollUp({ ...card, dimensions: ["activity_date"], order_by: "" }, range, grain);
    const found = new Map(rows.map((row) => [row.activity_date, row[name]]));
    const points = [];
    const stepDays = grain === "week" ? 7 : 1;
    for (let day = grain === "week" ? monday(range.since) : range.since; day <= range.until; day += stepDays) points.push(found.get(day) ?? (name.endsWith("_ratio") ? null : 0));
    holder.replaceChildren();
    const known = points.map((value, index) => [index, value]).filter(([, value]) => value !== null);
    if (known.length < 2) return;
    const values = known.map(([, value]) => value);
    const low = name.endsWith("_ratio") ? Math.min(...values) : 0;
    const high = Math.max(...values);
    const place = ([index, value]) => `${((index / (points.length - 1)) * 100).toFixed(2)},${(29 - ((value - low) / (high - low || 1)) * 26).toFixed(2)}`;
    const path = known.map(place).join(" L");
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 100 30");
    svg.setAttribute("preserveAspectRatio", "none");
    for (const [d, fill, stroke] of [[`M${path} L${(known.at(-1)[0] / (points.length - 1)) * 100},30 L${(known[0][0] / (points.length - 1)) * 100},30 Z`, "var(--accent)", "none"], [`M${path}`, "none", "var(--accent)"]]) {
      const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
      line.setAttribute("d", d);
      line.setAttribute("fill", fill);
      line.setAttribute("stroke", stroke);
      line.setAttribute("stroke-width", "1.6");
      line.setAttribute("vector-effect", "non-scaling-stroke");
      if (fill !== "none") line.setAttribute("opacity", "0.12");
      svg.append(line);
    }
    holder.append(svg);
  }

  const grainOf = (card) => (daysOf(rangeNow()) > 120 || (card.grain === "week" && daysOf(rangeNow()) > 21) ? "week" : "day");

  function emptyText(card) {
    const filtered = [state.project && projectNames.get(state.project), state.model, state.thread && (state.thread === "1" ? "subagents" : "the main thread")].filter(Boolean);
    return `Nothing here between ${longDay(state.since)} and ${longDay(state.until)}${filtered.length ? ` for ${filtered.join(", ")}` : ""}.`;
  }

  async function drawCard(card) {
    if (card.chart === "number") return drawNumber(card);
    const cube = model.cubes[card.query];
    const grain = grainOf(card);
    const range = rangeNow();
    card.rows = rollUp(card, range, grain);
    if (card.limit && card.chart !== "row") card.rows = card.rows.slice(0, card.limit);
    const ignored = card.unfiltered ? [] : Object.entries(FILTER_NAMES).filter(([column, key]) => state[key] !== "" && !cube.columns[column]).map(([, key]) => key);
    const note = cube.note ? ` ${cube.note}` : "";
    card.node.querySelector(".about").textContent = `${card.description}${note}${card.unfiltered ? ` ${card.unfiltered} Filters do not apply.` : ""}${ignored.length ? ` Not filtered by ${ignored.join(" or ")}: these rows have none.` : ""}`;
    card.behind.querySelector(".scroll")?.remove();
    if (card.behind.open) card.behind.append(tableOf(card, card.rows));
    const hasAny = card.rows.some((row) => card.measures.some((measure) => row[measure.name] !== null));
    card.view?.finalize();
    card.view = null;
    card.legend.hidden = true;
    if (!hasAny) {
      card.node.dataset.drawn = "empty";
      card.figure.replaceChildren(element("p", { class: "empty" }, emptyText(card), element("button", { type: "button", onclick: reset }, "Reset filters")));
      return undefined;
    }
    if (card.chart === "table") {
      card.figure.classList.add("is-table");
      card.figure.replaceChildren(tableOf(card, card.rows));
      card.node.dataset.drawn = "table";
      return undefined;
    }
    const box = { width: Math.max(200, Math.floor(card.figure.clientWidth)), grain, range, legend: [] };
    const spec = specOf(card, card.rows, box);
    card.legend.replaceChildren(...box.legend.map((entry) => element("li", {},
      element("i", { style: entry.isRamp ? { width: "6em", background: "linear-gradient(90deg, var(--faint), var(--accent))" } : { background: entry.color } }), entry.label)));
    card.legend.hidden = !box.legend.length;
    card.figure.replaceChildren();
    spec.height = Math.floor(card.figure.clientHeight);
    const embedded = await vegaEmbed(card.figure, spec, { mode: "vega-lite", renderer: "svg", actions: false, hover: false, defaultStyle: false, tooltip: showTip });
    card.view = embedded;
    card.drawnWidth = card.figure.clientWidth;
    // The chart is a picture to a screen reader; its numbers are in the table behind it.
    const svg = card.figure.querySelector("svg");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", `${card.title}. ${card.rows.length} rows; the table below holds them.`);
    for (const child of svg.children) child.setAttribute("aria-hidden", "true");
    card.node.dataset.drawn = "chart";
    return undefined;
  }

  function showTip(_, event, item, value) {
    const tip = byId("tip");
    tip.hidden = !value;
    if (!value) return;
    tip.textContent = String(value);
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - width - 8)}px`;
    tip.style.top = `${event.clientY + height + 24 > innerHeight ? event.clientY - height - 12 : event.clientY + 16}px`;
  }

  // ---------------------------------------------------------------- the page
  const cards = () => model.dashboards.flatMap((dashboard) => dashboard.cards);
  const pause = () => new Promise((resolve) => { const channel = new MessageChannel(); channel.port1.onmessage = resolve; channel.port2.postMessage(0); });
  let turn = 0;
  async function drawAll() {
    turn += 1;
    const mine = turn;
    kept.clear();
    document.documentElement.dataset.ready = "false";
    drawHead();
    let last = performance.now();
    const distance = (card) => { const { top, bottom } = card.node.getBoundingClientRect(); return bottom < 0 ? 1e6 - top : top; };
    for (const card of [...cards()].sort((a, b) => distance(a) - distance(b))) {
      await drawCard(card);
      if (performance.now() - last > 40) { await pause(); last = performance.now(); }
      if (mine !== turn) return;
    }
    document.documentElement.dataset.ready = "true";
    document.documentElement.dataset.elapsedMs = String(Math.round(performance.now()));
    byId("status").textContent = `Charts show ${longDay(state.since)} to ${longDay(state.until)}.`;
  }

  function drawHead() {
    const parts = [`${longDay(state.since)} – ${longDay(state.until)}`, state.project ? projectNames.get(state.project) : "all projects"];
    if (state.model) parts.push(state.model);
    if (state.thread) parts.push(state.thread === "1" ? "subagents" : "main thread");
    byId("subtitle").textContent = `${parts.join(" · ")} · costs are estimated at list prices, not billed`;
    const cube = model.cubes.usage;
    const old = byId("unpriced");
    old?.remove();
    if (cube && cube.columns["sum:unpriced_request_count"]) {
      const rows = rowsOf(cube, rangeNow());
      const unpriced = rows.filter((row) => cube.columns["sum:unpriced_request_count"].data[row] > 0);
      const count = unpriced.reduce((sum, row) => sum + cube.columns["sum:unpriced_request_count"].data[row], 0);
      const names = [...new Set(unpriced.map((row) => readCell(cube, "model_name", row)))];
      if (count) byId("main").prepend(element("p", { class: "note", id: "unpriced" }, `${number(count)} requests of ${names.slice(0, 4).join(", ")}${names.length > 4 ? ` and ${names.length - 4} more models` : ""} have no known price. Their tokens count; their cost is in no total here.`));
    }
    for (const button of byId("presets").children) button.setAttribute("aria-pressed", String(button.dataset.since === String(state.since) && state.until === model.last));
    byId("since").value = isoDay(state.since);
    byId("until").value = isoDay(state.until);
    byId("project").value = state.project;
    byId("model").value = state.model;
    byId("thread").value = state.thread;
  }

  const defaults = () => ({ since: model.last - model.first > 60 ? model.last - 29 : model.first, until: model.last, project: "", model: "", thread: "" });
  function change(values) {
    Object.assign(state, values);
    if (state.since > state.until) [state.since, state.until] = [state.until, state.since];
    const fragment = new URLSearchParams({ since: isoDay(state.since), until: isoDay(state.until), project: state.project, model: state.model, thread: state.thread });
    try { history.replaceState(null, "", `#${fragment}`); } catch { /* some viewers allow no history; the filters work without */ }
    return drawAll();
  }
  function reset() { return change(defaults()); }

  function readFragment() {
    const found = new URLSearchParams(location.hash.slice(1));
    const values = defaults();
    for (const name of ["since", "until"]) { const day = dayNumber(found.get(name) || ""); if (Number.isFinite(day)) values[name] = day; }
    if (projectNames.has(found.get("project"))) values.project = found.get("project");
    if (model.models.includes(found.get("model"))) values.model = found.get("model");
    if (["0", "1"].includes(found.get("thread"))) values.thread = found.get("thread");
    return values;
  }

  function setTheme(theme) { document.documentElement.dataset.theme = theme; }
  function prepareTheme() {
    const dark = matchMedia("(prefers-color-scheme: dark)");
    let chosen = null;
    try { chosen = localStorage.getItem("theme"); } catch { /* file:// may have no storage */ }
    setTheme(chosen || (dark.matches ? "dark" : "light"));
    dark.addEventListener("change", () => { if (!chosen) setTheme(dark.matches ? "dark" : "light"); });
    byId("theme").addEventListener("click", () => {
      chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
      setTheme(chosen);
      try { localStorage.setItem("theme", chosen); } catch { /* see above */ }
    });
  }

  function build() {
    const { page } = model;
    byId("synthetic").hidden = !page.is_synthetic;
    const days = Object.values(model.cubes).flatMap((cube) => (cube.columns.activity_date && cube.name !== "cost_projection" ? [cube.columns.activity_date.data] : []));
    model.first = Infinity;
    model.last = -Infinity;
    for (const data of days) for (const day of data) { if (day < model.first) model.first = day; if (day > model.last) model.last = day; }
    byId("footer").textContent = `Published ${page.published_at} UTC by run ${page.run_id}. Newest record ${page.newest_at || "none"} UTC. Days and hours are in ${page.timezone}. Costs are estimated at list prices and are not a bill. This page holds its data and asks the network nothing.`;
    if (!Number.isFinite(model.first)) {
      byId("filters").hidden = true;
      byId("main").append(element("div", { class: "welcome" }, element("h2", {}, "Nothing to show yet"),
        element("p", {}, "No session has been read. Use Claude Code, then run ", element("code", {}, "analytics run"), ". If you have used it, ", element("code", {}, "analytics doctor"), " tells where the transcripts are looked for.")));
      document.documentElement.dataset.ready = "true";
      return null;
    }
    const valuesOf = (column) => [...new Set(Object.values(model.cubes).flatMap((cube) => cube.columns[column]?.values || []))].sort();
    const paths = valuesOf("project_path");
    nameProjects(paths);
    model.models = valuesOf("model_name");
    const option = (value, text) => element("option", { value }, text);
    byId("project").append(option("", "All projects"), ...paths.map((path) => option(path, projectNames.get(path))));
    byId("model").append(option("", "All models"), ...model.models.map((name) => option(name, name)));
    const presets = [[7, "7 d"], [30, "30 d"], [90, "90 d"], [365, "1 y"]].filter(([count]) => count <= model.last - model.first + 1);
    for (const [since, text, full] of [...presets.map(([count, label]) => [model.last - count + 1, label, `Last ${count} days`]), [model.first, "All", "All days"]]) {
      byId("presets").append(element("button", { type: "button", "data-since": since, "aria-label": full, onclick: () => change({ since, until: model.last }) }, text));
    }
    for (const id of ["since", "until"]) {
      byId(id).min = isoDay(model.first);
      byId(id).max = isoDay(model.last);
      byId(id).addEventListener("change", () => { const day = dayNumber(byId(id).value); if (Number.isFinite(day)) change({ [id]: day }); });
    }
    for (const id of ["project", "model", "thread"]) byId(id).addEventListener("change", () => change({ [id]: byId(id).value }));
    byId("reset").addEventListener("click", reset);
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    for (const dashboard of model.dashboards) {
      const grid = element("div", { class: "grid" });
      byId("sections").append(element("a", { href: `#${dashboard.slug}`, onclick: (event) => { event.preventDefault(); byId(dashboard.slug).scrollIntoView(); byId(dashboard.slug).focus({ preventScroll: true }); } }, dashboard.title));
      byId("main").append(element("section", { id: dashboard.slug, tabindex: "-1", "aria-labelledby": `title-${dashboard.slug}` },
        element("h2", { id: `title-${dashboard.slug}` }, dashboard.title), element("p", { class: "about" }, dashboard.description), grid));
      for (const card of dashboard.cards) {
        card.id = `${dashboard.slug}-${card.name}`;
        buildCard(card, grid);
      }
    }
    let waiting = 0;
    new ResizeObserver(() => {
      clearTimeout(waiting);
      waiting = setTimeout(() => { if (cards().some((card) => card.view && Math.abs(card.figure.clientWidth - card.drawnWidth) > 8)) drawAll(); }, 120);
    }).observe(byId("main"));
    return change(readFragment());
  }

  async function start() {
    prepareTheme();
    const [data, library] = await Promise.all([unpack("data"), unpack("library")]);
    document.head.append(Object.assign(document.createElement("script"), { textContent: library }));
    model = JSON.parse(data);
    await build();
    window.report = { model, state, change, rollUp, cards, rangeNow };
  }
  start().catch((error) => {
    document.documentElement.dataset.ready = "failed";
    byId("main").append(element("p", { class: "note" }, `This page could not be drawn: ${error.message}. A browser from 2023 or later is needed.`));
    throw error;
  });
})();
