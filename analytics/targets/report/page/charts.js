// From the rows of a card to a Vega-Lite specification. Nothing here touches the page.
// A tip is {head, entries: [{label, value, color}]}: what the pointer finds over a day, a bar or a cell.

const PALETTE = [0, 1, 2, 3, 4, 5, 6].map((index) => `var(--c${index})`);
// The key of what has no colour of its own: no name in the data is it.
const OTHER = "\u0000";
// Colours that mean something. All others go by weight.
const COLORS = {
  accepted_plan_count: "var(--c2)",
  added_line_count: "var(--c2)",
  cache_savings_usd: "var(--c2)",
  completed_feature_count: "var(--c2)",
  failed_feature_count: "var(--failed)",
  failed_tool_call_count: "var(--failed)",
  in_progress_feature_count: "var(--c0)",
  open_plan_count: "var(--other)",
  pending_feature_count: "var(--other)",
  refused_plan_count: "var(--c1)",
  rejected_count: "var(--failed)",
  removed_line_count: "var(--failed)",
  success_count: "var(--c0)",
  "check_verdict:could not run": "var(--other)",
  "check_verdict:failed": "var(--failed)",
  "check_verdict:passed": "var(--c2)",
  "check_verdict:warned": "var(--c4)",
  "usage_quality:final": "var(--c0)",
  "usage_quality:grown": "var(--c2)",
  "usage_quality:placeholder": "var(--c1)",
  "usage_quality:unknown": "var(--other)",
};
// Drawn below zero, so that what came and what went face each other.
const DOWNWARD = new Set(["removed_line_count"]);
const WEIGHTS = ["total_tokens", "tool_call_count", "session_count", "request_count"].map((name) => `sum:${name}`);
// What a share behind a row says.
const SHARES = { failure_ratio: "failed", completion_ratio: "done" };

// The heaviest values of a column keep their colours under every filter.
const colorMaps = new Map();
function colorsFor(column) {
  if (!colorMaps.has(column)) {
    const totals = new Map();
    for (const { columns } of Object.values(model.cubes)) {
      const weight = columns[WEIGHTS.find((name) => columns[name])];
      if (!columns[column]?.values || !weight) continue;
      const { data, values } = columns[column];
      data.forEach((index, row) =>
        totals.set(values[index], (totals.get(values[index]) || 0) + (weight.data[row] || 0)),
      );
      break;
    }
    const order = [...totals.keys()].sort((a, b) => totals.get(b) - totals.get(a)).slice(0, PALETTE.length);
    colorMaps.set(column, new Map(order.map((key, index) => [key, COLORS[`${column}:${key}`] || PALETTE[index]])));
  }
  return colorMaps.get(column);
}

const rem = () => parseFloat(getComputedStyle(document.documentElement).fontSize);

const pen = document.createElement("canvas").getContext("2d");
function textWidth(text, size) {
  pen.font = `${rem() * size}px ${getComputedStyle(document.body).fontFamily}`;
  return pen.measureText(text).width;
}

function configOf() {
  const text = {
    labelColor: "var(--muted)",
    titleColor: "var(--muted)",
    labelFontSize: rem() * 0.75,
    titleFontSize: rem() * 0.75,
  };
  return {
    font: getComputedStyle(document.body).fontFamily,
    view: { stroke: null },
    axis: {
      ...text,
      titleFontWeight: "normal",
      gridColor: "var(--grid)",
      domainColor: "var(--line)",
      tickColor: "var(--line)",
      labelPadding: 5,
      titlePadding: 8,
    },
    axisY: { domain: false, ticks: false },
    axisX: { grid: false },
  };
}

function unitOf(card, values) {
  const most = Math.max(0, ...values.map((value) => Math.abs(value ?? 0)));
  if (card.unit === "ms") {
    const [divisor, title] =
      most >= 5400000
        ? [3600000, "hours"]
        : most >= 90000
          ? [60000, "minutes"]
          : most >= 1500
            ? [1000, "seconds"]
            : [1, "milliseconds"];
    return { divisor, title, format: "~g" };
  }
  if (card.unit === "usd")
    return {
      divisor: 1,
      title: "USD",
      format: most >= 10000 ? "$~s" : most >= 8 ? "$,.0f" : most >= 0.1 ? "$,.2f" : "$~r",
    };
  if (card.unit === "ratio") return { divisor: 1, title: null, format: ".0%" };
  return {
    divisor: 1,
    title: card.unit,
    format: most >= 10000 ? "~s" : ",~g",
    tickCount: Math.max(1, Math.min(5, Math.floor(most))),
  };
}
// "G" is how SI says billion, and no one else.
const valueAxis = (unit, title) => ({
  title,
  tickCount: unit.tickCount || 5,
  labelExpr: `replace(format(abs(datum.value), ${JSON.stringify(unit.format)}), "G", "B")`,
});

// Over more than a year a day is told with its year, in a line below.
const isOverYears = (box) => daysOf(box.range) > 365;
const dayLines = (day, box) => [shortDay(day), ...(isOverYears(box) ? [isoDay(day).slice(0, 4)] : [])];

const stepOf = (grain) => (grain === "week" ? 7 : 1);
function daysBetween(box, points) {
  const step = stepOf(box.grain);
  const last = Math.max(box.range.until, ...points.map((point) => point.x));
  const days = [];
  for (let day = step === 7 ? monday(box.range.since) : box.range.since; day <= last; day += step) days.push(day);
  return days;
}
const isMean = (card) =>
  card.series.every((name) => card.measures.find((measure) => measure.name === name).divisor_column);
const headOf = (name, value, grain) =>
  name === "activity_date" ? `${grain === "week" ? "Week of " : ""}${tipDay(value)}` : show(name, value);

const keysOf = (card) =>
  card.series.map((name, index) => ({
    key: name,
    label: nameOf(name),
    color: COLORS[name] || PALETTE[index],
    measure: name,
  }));

// Long form: one point per x and series, the small series folded into one; `keys` are the series with their colours.
function longForm(card, rows) {
  const [first, split] = card.dimensions;
  if (!split) {
    return {
      keys: keysOf(card),
      points: rows
        .flatMap((row) => card.series.map((name) => ({ x: row[first], key: name, y: row[name] })))
        .filter((point) => point.y !== null),
    };
  }
  const [measure] = card.series;
  const palette = colorsFor(split);
  const merged = new Map();
  for (const row of rows.filter((entry) => entry[measure] !== null)) {
    const key = palette.has(row[split]) || !palette.size ? row[split] : OTHER;
    const id = `${row[first]}\u0001${key}`;
    const point = merged.get(id) || { x: row[first], key, y: 0 };
    point.y += row[measure];
    merged.set(id, point);
  }
  const points = [...merged.values()];
  const present = new Set(points.map((point) => point.key));
  const named = palette.size ? [...palette.keys()].filter((key) => present.has(key)) : [...present].sort();
  const keys = named.map((key, index) => ({
    key,
    label: show(split, key),
    color: palette.get(key) || COLORS[`${split}:${key}`] || PALETTE[index % PALETTE.length],
    measure,
  }));
  if (palette.size && present.has(OTHER)) keys.push({ key: OTHER, label: "all others", color: "var(--other)", measure });
  return { keys, points };
}
const paint = (keys) => ({
  field: "key",
  type: "nominal",
  legend: null,
  scale: { domain: keys.map((entry) => entry.key), range: keys.map((entry) => entry.color) },
});

// One tip per x that names every series there, with their sum where a sum means something.
function tipsOf(card, keys, points, box) {
  const byX = new Map();
  for (const point of points) byX.set(point.x, [...(byX.get(point.x) || []), point]);
  return [...byX].map(([x, found]) => {
    const entries = keys.flatMap((entry) =>
      found
        .filter((point) => point.key === entry.key && (point.y || keys.length < 5))
        .map((point) => ({
          label: entry.label,
          color: keys.length > 1 ? entry.color : "",
          value: showShort(entry.measure, point.y),
        })),
    );
    const isSum = card.dimensions[1] && entries.length > 1;
    if (isSum)
      entries.push({
        label: "Total",
        color: "",
        value: showShort(
          card.series[0],
          found.reduce((sum, point) => sum + point.y, 0),
        ),
      });
    return { x, tip: { head: headOf(card.dimensions[0], x, box.grain), entries } };
  });
}

function specOfBars(card, { keys, points }, box) {
  const first = card.dimensions[0];
  const isDay = first === "activity_date";
  const isTime = isDay || first.endsWith("_at");
  const sums = new Map();
  for (const point of points) sums.set(point.x, (sums.get(point.x) || 0) + point.y);
  const unit = unitOf(card, [...sums.values()]);
  const found = [...new Set(points.map((point) => point.x))];
  const domain = isDay ? daysBetween(box, points) : isTime ? found.sort((a, b) => a - b) : found;
  const every = isTime ? Math.ceil(domain.length / Math.max(2, Math.floor(box.width / (rem() * 5)))) : 1;
  const ticks = domain.filter((_, index) => index % every === 0);
  const isNarrow = box.width / domain.length < rem() * 6;
  const label = (value) => {
    if (isTime) return dayLines(isDay ? value : value / DAY, box);
    return isNarrow ? show(first, value).split(" ") : show(first, value);
  };
  const labels = Object.fromEntries(ticks.map((value) => [value, label(value)]));
  const order = new Map(keys.map((entry, index) => [entry.key, index]));
  const padding = domain.length > 90 ? 0.1 : domain.length > 12 ? 0.24 : 0.45;
  return {
    encoding: {
      x: {
        field: "x",
        type: "ordinal",
        scale: { domain, paddingInner: padding, paddingOuter: padding / 2 },
        axis: {
          values: ticks,
          labelExpr: `${JSON.stringify(labels)}[datum.value]`,
          labelAngle: 0,
          labelOverlap: isTime,
          title: null,
          ticks: isTime,
        },
      },
    },
    layer: [
      {
        data: {
          values: points.map((point) => ({
            x: point.x,
            key: point.key,
            y: ((DOWNWARD.has(point.key) ? -1 : 1) * point.y) / unit.divisor,
            order: order.get(point.key),
          })),
        },
        mark: { type: "bar", cornerRadiusEnd: keys.length > 1 ? 0 : 2 },
        encoding: {
          y: {
            field: "y",
            type: "quantitative",
            stack: "zero",
            axis: valueAxis(unit, isDay && !isMean(card) ? `${unit.title} per ${box.grain}` : unit.title),
          },
          color: paint(keys),
          order: { field: "order" },
        },
      },
      {
        name: "hits",
        data: { values: tipsOf(card, keys, points, box) },
        mark: { type: "rect", opacity: 0, color: "var(--text)", tooltip: true },
        encoding: { tooltip: { field: "tip" } },
      },
    ],
  };
}

function specOfLines(card, { keys, points }, box) {
  const days = daysBetween(box, points);
  // A day without rows is a zero of a sum and a gap in a mean.
  if (!isMean(card)) {
    const known = new Set(points.map((point) => point.x));
    for (const day of days)
      if (!known.has(day)) points.push(...keys.map((entry) => ({ x: day, key: entry.key, y: 0 })));
  }
  points.sort((a, b) => a.x - b.x);
  const unit = unitOf(
    card,
    points.map((point) => point.y),
  );
  const step = stepOf(box.grain);
  const has = new Set(points.map((point) => `${point.x}|${point.key}`));
  const isAlone = (point) => !has.has(`${point.x - step}|${point.key}`) && !has.has(`${point.x + step}|${point.key}`);
  const values = points.map((point) => ({
    x: point.x * DAY,
    key: point.key,
    y: point.y / unit.divisor,
    isAlone: isAlone(point),
  }));
  const color = paint(keys);
  const [lead] = keys;
  const only = (operator) => [{ filter: `datum.key ${operator} ${JSON.stringify(lead.key)}` }];
  const line = { type: "line", strokeWidth: rem() * 0.14, strokeJoin: "round" };
  const layers =
    card.chart === "area"
      ? [
          {
            transform: only("=="),
            mark: { type: "area", opacity: 0.22, line: { color: lead.color, strokeWidth: rem() * 0.12 } },
            encoding: { color },
          },
          { transform: only("!="), mark: line, encoding: { color } },
        ]
      : [{ mark: line, encoding: { color } }];
  const dots = {
    transform: [{ filter: "datum.isAlone" }],
    mark: { type: "point", filled: true, opacity: 1, size: (rem() * 0.35) ** 2 },
    encoding: { color, y: { field: "y", type: "quantitative" } },
  };
  const wide = Math.max(6, box.width / Math.max(1, days.length));
  return {
    data: { values },
    encoding: {
      x: {
        field: "x",
        type: "temporal",
        scale: { type: "utc" },
        axis: {
          title: null,
          labelExpr: isOverYears(box)
            ? "[utcFormat(datum.value, '%b %-d'), utcFormat(datum.value, '%Y')]"
            : "utcFormat(datum.value, '%b %-d')",
          tickCount: Math.max(2, Math.floor(box.width / (rem() * 6))),
          labelOverlap: true,
        },
      },
    },
    layer: [
      ...layers.map((layer) => ({
        ...layer,
        encoding: {
          ...layer.encoding,
          y: {
            field: "y",
            type: "quantitative",
            scale: { zero: true, ...(card.unit === "ratio" ? { domain: [0, 1] } : {}) },
            axis: valueAxis(unit, unit.title),
          },
        },
      })),
      ...(values.some((value) => value.isAlone) ? [dots] : []),
      {
        name: "hits",
        data: { values: tipsOf(card, keys, points, box).map((entry) => ({ ...entry, x: entry.x * DAY })) },
        mark: { type: "rule", opacity: 0, strokeWidth: wide, color: "var(--text)", tooltip: true },
        encoding: { tooltip: { field: "tip" } },
      },
    ],
  };
}

function specOfRows(card, { keys, rows }, box) {
  const name = card.dimensions[0];
  const shown = rows.slice(0, card.limit || 20).filter((row) => card.series.some((series) => row[series] !== null));
  const total = (row) => card.series.reduce((sum, series) => sum + (row[series] || 0), 0);
  const label = (row) => {
    if (!card.label) return showShort(card.series[0], row[card.series[0]]);
    const share = row[card.label] ? ` · ${percent(row[card.label])}` : "";
    return `${number(total(row))}${share}${share && box.width > 420 ? ` ${SHARES[card.label]}` : ""}`;
  };
  const tip = (row) => ({
    head: name === "project_path" ? row[name] : show(name, row[name]),
    entries: card.measures.map((measure) => ({
      label: nameOf(measure.name),
      value: show(measure.name, row[measure.name]),
      color: keys.length > 1 ? keys.find((entry) => entry.key === measure.name)?.color || "" : "",
    })),
  });
  const y = (row) => show(name, row[name]);
  const step = Math.min(rem() * 2.7, box.height / Math.max(1, shown.length));
  // As long as the longest bar can be with its figure behind it.
  const nameWidth = Math.min(rem() * 16, box.width * 0.4);
  const plot = box.width - Math.min(nameWidth, Math.max(...shown.map((row) => textWidth(y(row), 0.75)))) - rem();
  const room = (row) => Math.max(plot / 4, plot - textWidth(label(row), 0.78) - rem());
  const domainMax = Math.max(...shown.map((row) => (total(row) * plot) / room(row))) || 1;
  const x = (extra) => ({ field: "x", type: "quantitative", axis: null, scale: { domainMax }, ...extra });
  return {
    height: Math.ceil(step * shown.length),
    encoding: {
      y: {
        field: "y",
        type: "ordinal",
        scale: { domain: shown.map(y), paddingInner: 0.34, paddingOuter: 0.17 },
        axis: { title: null, labelLimit: nameWidth, labelColor: "var(--text)", domain: false, ticks: false },
      },
    },
    layer: [
      {
        data: {
          values: shown.flatMap((row) =>
            card.series.map((series, order) => ({ y: y(row), key: series, x: row[series] || 0, order })),
          ),
        },
        mark: { type: "bar", cornerRadiusEnd: keys.length > 1 ? 0 : 2 },
        encoding: { x: x({ stack: "zero" }), color: paint(keys), order: { field: "order" } },
      },
      {
        data: { values: shown.map((row) => ({ y: y(row), x: total(row), text: label(row) })) },
        mark: {
          type: "text",
          align: "left",
          baseline: "middle",
          dx: rem() * 0.4,
          fontSize: rem() * 0.78,
          color: "var(--muted)",
        },
        encoding: { x: x(), text: { field: "text" } },
      },
      {
        name: "hits",
        data: { values: shown.map((row) => ({ y: y(row), tip: tip(row) })) },
        mark: { type: "rect", opacity: 0, color: "var(--text)", tooltip: true },
        encoding: { tooltip: { field: "tip" } },
      },
    ],
  };
}

function heatForm(card, rows) {
  const [x, y] = card.dimensions;
  const [measure] = card.series;
  const found = new Map(rows.map((row) => [`${row[x]}|${row[y]}`, row[measure]]));
  const cells = WEEKDAYS.flatMap((weekday, index) =>
    Array.from({ length: 24 }, (_, hour) => {
      const value = found.get(`${hour}|${index + 1}`) || 0;
      const head = `${weekday} ${show(x, hour)} – ${show(x, (hour + 1) % 24)}`;
      return {
        x: hour,
        y: weekday,
        v: value,
        tip: { head, entries: [{ label: nameOf(measure), value: number(value), color: "" }] },
      };
    }),
  );
  return { cells, most: Math.max(1, ...cells.map((cell) => cell.v)) };
}

function specOfHeat(card, { cells, most }) {
  const cell = { type: "rect", cornerRadius: rem() * 0.15, tooltip: true };
  const tooltip = { field: "tip" };
  return {
    layer: [
      { data: { values: cells }, mark: { ...cell, color: "var(--faint)" }, encoding: { tooltip } },
      {
        data: { values: cells.filter((entry) => entry.v > 0) },
        mark: { ...cell, color: "var(--accent)" },
        encoding: {
          tooltip,
          opacity: {
            field: "v",
            type: "quantitative",
            scale: { type: "sqrt", domain: [0, most], range: [0.08, 1] },
            legend: null,
          },
        },
      },
    ],
    encoding: {
      x: {
        field: "x",
        type: "ordinal",
        scale: { domain: [...Array(24).keys()], padding: 0.1 },
        axis: {
          title: `hour of day (${model.page.timezone})`,
          labelAngle: 0,
          values: [0, 3, 6, 9, 12, 15, 18, 21],
          domain: false,
          ticks: false,
        },
      },
      y: {
        field: "y",
        type: "ordinal",
        scale: { domain: WEEKDAYS, padding: 0.1 },
        axis: { title: null, domain: false, ticks: false },
      },
    },
  };
}

const SPECS = { bar: specOfBars, line: specOfLines, area: specOfLines, row: specOfRows, heatmap: specOfHeat };

// What a chart draws, before anyone knows how much room there is: its series with their legend, its points or rows.
function formOf(card, rows) {
  if (card.chart === "heatmap") {
    const form = heatForm(card, rows);
    return { ...form, legend: [{ label: `0 to ${number(form.most)} ${card.unit}`, isRamp: true }] };
  }
  const form = card.chart === "row" ? { keys: keysOf(card), rows } : longForm(card, rows);
  const isLine = card.chart === "line" || card.chart === "area";
  return {
    ...form,
    legend: form.keys.length > 1 || card.dimensions[1] ? form.keys.map((entry) => ({ ...entry, isLine })) : [],
  };
}

// `box` is {width, height, grain, range}.
function specOf(card, form, box) {
  const spec = SPECS[card.chart](card, form, box);
  const frame = {
    width: box.width,
    height: box.height,
    autosize: { type: "fit", contains: "padding" },
    background: null,
  };
  return { ...frame, ...spec, config: configOf() };
}
