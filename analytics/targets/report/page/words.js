// Names and numbers as people read them.

const WEEKDAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const NAMES = {
  accepted_plan_count: "Accepted",
  activity_date: "Day",
  added_line_count: "Added",
  block_started_at: "Block start (UTC)",
  cache_creation_tokens: "Cache writes",
  cache_hit_ratio: "Read from cache",
  cache_read_tokens: "Cache reads",
  cache_savings_usd: "Saved by cache",
  changed_file_range: "Files changed",
  check_title: "Check",
  check_verdict: "Verdict",
  checked_count: "Rows checked",
  completed_feature_count: "Completed",
  completion_ratio: "Done",
  day_of_week: "Weekday",
  duration_range: "Session length",
  estimated_cost_usd: "Estimated cost",
  failed_feature_count: "Failed",
  failed_run_count: "Failed",
  failed_tool_call_count: "Failed",
  failure_ratio: "Failed share",
  file_path: "File",
  file_type: "Kind of file",
  final_ratio: "Final",
  first_active_date: "First day",
  hour_of_day_local: "Hour",
  hourly_burn_usd: "Per hour",
  human_prompt_count: "Prompts",
  in_progress_feature_count: "In progress",
  input_tokens: "Input",
  interrupted_count: "Interrupted",
  is_sidechain: "Thread",
  last_active_date: "Last day",
  last_changed_date: "Last change",
  last_checked_date: "Last audit",
  last_event_date: "Last event",
  last_run_date: "Last run",
  longest_ms: "Longest",
  mean_duration_ms: "Mean duration",
  mean_feature_duration_ms: "Mean time of a feature",
  mean_human_prompt_count: "Prompts",
  mean_message_count: "Messages",
  model_name: "Model",
  open_plan_count: "Undecided",
  output_tokens: "Output",
  passed_check_count: "Passed",
  peak_memory_bytes: "Peak memory",
  pending_feature_count: "Pending",
  period_type: "Period",
  plan_title: "Plan",
  projected_cost_usd: "At this pace",
  project_path: "Project",
  refused_plan_count: "Sent back",
  rejected_count: "Rejected",
  removed_line_count: "Removed",
  session_hour_count: "Session hours",
  stage_run_count: "Runs",
  stage_step: "Stage",
  success_count: "Succeeded",
  success_ratio: "Success",
  task_category: "Asks for",
  time_of_day: "Time of day",
  timed_tool_call_count: "Timed",
  tool_call_count: "Calls",
  tool_category: "Category",
  tool_name: "Tool",
  total_tokens: "Tokens",
  unanswered_count: "No answer",
  unexpected_count: "Unexpected",
  unpriced_request_count: "Unpriced",
  usage_quality: "Usage",
  cost_status: "Price",
  check_count: "Checks",
  row_count: "Rows",
  request_count: "Requests",
  edit_count: "Edits",
  session_count: "Sessions",
};
const nameOf = (name) =>
  NAMES[name] ||
  name
    .replace(/_count$/, "s")
    .replace(/_/g, " ")
    .replace(/^./, (letter) => letter.toUpperCase());

// Short names of paths and models, as long as they stay apart: the last folders, a model without its release day.
const shortNames = new Map();

function nameProjects(paths) {
  const last = (path, count) => path.split("/").filter(Boolean).slice(-count).join("/") || path;
  for (const path of paths) {
    let count = 1;
    while (count < 4 && paths.some((other) => other !== path && last(other, count) === last(path, count))) count += 1;
    shortNames.set(path, last(path, count));
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
  if (ratio > 0.9995 && ratio < 1) return ">99.9%";
  return ratio > 0 && ratio < 0.0005 ? "<0.1%" : `${number(ratio * 100, 1)}%`;
}
function duration(ms) {
  const [divisor, unit] =
    ms < 1000 ? [1, "ms"] : ms < 60000 ? [1000, "s"] : ms < 3600000 ? [60000, "min"] : [3600000, "h"];
  return `${number(ms / divisor, divisor === 1 ? 0 : 1)} ${unit}`;
}
function dollars(value) {
  if (value > 0 && value < 0.005) return "<$0.01";
  return `$${number(value, Math.abs(value) < 1000 ? 2 : 0)}`;
}

const NOTHING = "–";
function show(name, value) {
  if (value === null || value === undefined) return name.endsWith("_usd") ? "no price" : NOTHING;
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
  return number(value, name.startsWith("mean_") ? 1 : 0);
}
const showShort = (name, value) =>
  name.endsWith("_tokens") && value !== null && value >= 1e5 ? compact(value) : show(name, value);
