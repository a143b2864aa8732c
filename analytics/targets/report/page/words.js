// Names and numbers as people read them.

const WEEKDAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const nameOf = (name) => model.names[name];

// Short names of paths and models, as long as they stay apart: the last folders, a model without its release day.
const shortNames = new Map();

function nameProjects(paths) {
  const last = (path, count) => path.split("/").filter(Boolean).slice(-count).join("/") || path;
  for (const path of paths) {
    const { length } = path.split("/");
    let count = 1;
    while (count < length && paths.some((other) => other !== path && last(other, count) === last(path, count)))
      count += 1;
    shortNames.set(path, count < length ? last(path, count) : path);
  }
}

function nameModels(names) {
  const bare = (name) => name.replace(/-20\d{6}$/, "");
  for (const name of names) {
    if (names.filter((other) => bare(other) === bare(name)).length === 1) shortNames.set(name, bare(name));
  }
}

const dayText = (day, options) =>
  new Date(day * DAY).toLocaleDateString("en", { timeZone: "UTC", day: "numeric", month: "short", ...options });
const isoDay = (day) => new Date(day * DAY).toISOString().slice(0, 10);
const dayNumber = (text) => Math.round(Date.parse(`${text}T00:00:00Z`) / DAY);
const shortDay = (day) => dayText(day);
const longDay = (day) => dayText(day, { year: "numeric" });
const tipDay = (day) => dayText(day, { year: "numeric", weekday: "short" });

const number = (value, digits = 0) =>
  value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const compact = (value) => value.toLocaleString("en", { notation: "compact", maximumSignificantDigits: 3 });
function percent(ratio) {
  if (ratio === 0 || ratio === 1) return `${ratio * 100}%`;
  // Nearly all is not all, and hardly any is not none.
  if (ratio >= 0.9995 && ratio < 1) return ">99.9%";
  return ratio > 0 && ratio < 0.0005 ? "<0.1%" : `${number(ratio * 100, 1)}%`;
}
function duration(ms) {
  // A unit ends where its rounded figure would be the next one's first.
  const [divisor, unit] =
    ms < 999.5 ? [1, "ms"] : ms < 59950 ? [1000, "s"] : ms < 3597000 ? [60000, "min"] : [3600000, "h"];
  return `${number(ms / divisor, divisor === 1 ? 0 : 1)} ${unit}`;
}
function dollars(value) {
  if (value > 0 && value < 0.005) return "<$0.01";
  return `$${number(value, Math.abs(value) < 1000 ? 2 : 0)}`;
}

const NOTHING = "–";
// Dollars that are null because a price is missing. A rate or a projection may have other reasons.
const isUnpriced = (name, value) => value === null && /^(estimated_cost|cache_savings)_usd$/.test(name);
function show(name, value) {
  if (isUnpriced(name, value)) return "no price";
  if (value === null || value === undefined) return NOTHING;
  if (name === "is_sidechain") return value ? "subagents" : "main thread";
  if (name === "project_path" || name === "model_name") return shortNames.get(value) || value;
  if (name === "day_of_week") return WEEKDAYS[value - 1];
  if (name === "hour_of_day_local") return `${String(value).padStart(2, "0")}:00`;
  // Labels with a figure in front that puts them in their order.
  if (/_(range|step)$/.test(name)) return value.slice(2);
  if (name.endsWith("_date")) return isoDay(value);
  if (name.endsWith("_at")) return `${isoDay(Math.floor(value / DAY))} ${new Date(value).toISOString().slice(11, 16)}`;
  if (typeof value === "string") return /_(name|path|title)$/.test(name) ? value : value.replace(/_/g, " ");
  if (name.endsWith("_usd")) return dollars(value);
  if (name.endsWith("_ms")) return duration(value);
  if (name.endsWith("_bytes")) return `${compact(value / 1e6)} MB`;
  if (name.endsWith("_ratio")) return percent(value);
  if (name.endsWith("_value")) return value.toLocaleString("en", { maximumFractionDigits: 2 });
  return number(value, name.startsWith("mean_") ? 1 : 0);
}
const showShort = (name, value) =>
  name.endsWith("_tokens") && value !== null && value >= 1e5 ? compact(value) : show(name, value);
