// The data of the page: cubes (rows at the finest grain a filter can ask for), kept rows, roll-ups.
// The files of this folder share one scope, in the order that SCRIPTS of report/__init__.py gives.

const DAY = 86400000;
const FILTERS = { project_path: "project", model_name: "model", is_sidechain: "thread" };

let model = null;
const state = { since: 0, until: 0, project: "", model: "", thread: "" };

async function unpack(id) {
  const letters = atob(document.getElementById(id).textContent);
  const bytes = Uint8Array.from(letters, (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

const readCell = (cube, name, row) => {
  const { data, values } = cube.columns[name];
  return values && data[row] !== null ? values[data[row]] : data[row];
};

const rangeNow = () => ({ since: state.since, until: state.until });
const daysOf = (range) => range.until - range.since + 1;
const monday = (day) => day - ((((day + 3) % 7) + 7) % 7);
// What the pipeline tells of itself has no project.
const isOfPipeline = (cube) => !cube.columns.project_path;

// The pipeline runs on after the last session: a choice that reaches the newest day reaches its runs too.
function periodOf(card, range) {
  if (card.unfiltered) return null;
  return isOfPipeline(model.cubes[card.query]) && range.until === model.last ? { ...range, until: Infinity } : range;
}

function rowsOf(cube, range) {
  const wanted = [];
  for (const [column, key] of Object.entries(FILTERS)) {
    if (state[key] === "" || !cube.columns[column]) continue;
    const { data, values } = cube.columns[column];
    wanted.push([data, key === "thread" ? Number(state[key]) : values.indexOf(state[key])]);
  }
  const date = cube.columns.activity_date?.data;
  const rows = [];
  for (let row = 0; row < cube.row_count; row += 1) {
    if (range && date && (date[row] < range.since || date[row] > range.until)) continue;
    if (wanted.every(([data, value]) => data[row] === value)) rows.push(row);
  }
  return rows;
}

// Rows under the filters in force, kept while these last: a dozen cards share a cube.
const keptRows = new Map();
function rowsInForce(cube, range) {
  const key = `${cube.name}|${range ? `${range.since}|${range.until}` : ""}`;
  if (!keptRows.has(key)) keptRows.set(key, rowsOf(cube, range));
  return keptRows.get(key);
}

// A dictionary's index or a small number: two of them packed into one double stay exact.
const GROUPS = 1 << 20;

function groupRows(cube, dimensions, rows, isWeekly) {
  const [first, second] = dimensions.map((name) => cube.columns[name].data);
  const groups = new Map();
  const firstRows = [];
  const groupOf = new Int32Array(rows.length);
  rows.forEach((row, index) => {
    let key = first ? first[row] : 0;
    if (isWeekly) key = monday(key);
    if (second) key = (key ?? GROUPS - 1) * GROUPS + (second[row] ?? GROUPS - 1);
    let group = groups.get(key);
    if (group === undefined) {
      group = firstRows.length;
      groups.set(key, group);
      firstRows.push(row);
    }
    groupOf[index] = group;
  });
  return { firstRows, groupOf };
}

// One aggregate for every group at once. Money comes in nano-dollars, so that sums are the database's.
function foldAll(cube, fn, name, rows, { firstRows, groupOf }) {
  const { data } = cube.columns[cube.columns[name] ? name : `${fn}:${name}`];
  const totals = new Array(firstRows.length).fill(null);
  for (let index = 0; index < rows.length; index += 1) {
    const value = data[rows[index]];
    if (value === null) continue;
    const group = groupOf[index];
    const before = totals[group];
    if (before === null) totals[group] = value;
    else if (fn === "sum") totals[group] = before + value;
    else if (fn === "min" ? value < before : value > before) totals[group] = value;
  }
  return name.endsWith("_usd") ? totals.map((value) => (value === null ? null : value * 1e-9)) : totals;
}

function measureAll(cube, measure, rows, groups) {
  const top = foldAll(cube, measure.function, measure.column, rows, groups);
  if (!measure.divisor_column) return top;
  const below = foldAll(cube, measure.divisor_function, measure.divisor_column, rows, groups);
  return top.map((value, group) => (value === null || !below[group] ? null : value / below[group]));
}

// As SQL orders with nulls last, then by the first dimension.
function sortRows(rows, card) {
  const [by, direction] = card.order_by ? card.order_by.split(" ") : [card.dimensions[0], "asc"];
  const sign = direction === "desc" ? -1 : 1;
  const compare = (a, b) => {
    if (a === b) return 0;
    if (a === null || b === null) return a === null ? 1 : -1;
    return (a < b ? -1 : 1) * sign;
  };
  const first = card.dimensions[0];
  return rows.sort((a, b) => compare(a[by], b[by]) || (String(a[first]) < String(b[first]) ? -1 : 1));
}

// The rows of a card: one per combination of its dimensions, in its order.
function rollUp(card, range, grain) {
  const cube = model.cubes[card.query];
  const rows = rowsInForce(cube, periodOf(card, range));
  const isWeekly = card.dimensions[0] === "activity_date" && grain === "week";
  const groups = groupRows(cube, card.dimensions, rows, isWeekly);
  const measured = card.measures.map((measure) => [measure.name, measureAll(cube, measure, rows, groups)]);
  const result = groups.firstRows.map((row, group) => {
    const entry = Object.fromEntries(card.dimensions.map((name) => [name, readCell(cube, name, row)]));
    if (isWeekly) entry.activity_date = monday(entry.activity_date);
    for (const [name, values] of measured) entry[name] = values[group];
    return entry;
  });
  return sortRows(result, card);
}

// The period before, if the data reaches back that far; else the last week against the one before.
function comparison() {
  const range = rangeNow();
  const length = daysOf(range);
  if (range.since - length >= model.first) {
    return {
      now: range,
      before: { since: range.since - length, until: range.since - 1 },
      text: `the ${length} days before`,
    };
  }
  if (length < 14) return null;
  const { until } = range;
  return {
    now: { since: until - 6, until },
    before: { since: until - 13, until: until - 7 },
    text: "the week before",
    isWeek: true,
  };
}
