/** Shapes that the panel's modules share. Times are seconds, wall times are seconds since 1970, sizes are bytes. */

export type Health = "pass" | "warn" | "fail";
export type ChatState =
  | "waiting"
  | "streaming"
  | "retrying"
  | "tool"
  | "done"
  | "failed"
  | "cancelled"
  /** The program ended in the middle of it: only the event store knows such chats. */
  | "interrupted";
export type RangeName = "1h" | "24h" | "7d";
export type Quantile = number | null;

export interface ChatRow {
  chat_id: string;
  session_id?: string;
  kind?: string;
  state: ChatState;
  detail?: string;
  model?: string;
  host?: string;
  seconds?: number;
  tokens?: number;
  /** Tokens, and the seconds in which they came, of the model calls that have ended. */
  stream_tokens?: number;
  stream_seconds?: number;
  length?: number;
  attempt?: number;
  of?: number;
  retry_in?: number | null;
  /** Seconds without anything of an answer, since when (wall time), what happens next and in how many seconds. */
  silent?: { since: number; at?: number; next?: string; next_in?: number | null } | null;
  /** Null: nobody told. */
  input_tokens?: number | null;
  output_tokens?: number | null;
  cached_tokens?: number | null;
  reasoning_tokens?: number | null;
  /** The server told no usage: counted by characters. */
  tokens_estimated?: boolean;
  attempts?: number;
  /** Seconds since the chat's start at which its answer broke. */
  breaks?: number[];
  /** Completed although at least one attempt had failed. */
  saved?: boolean;
  error?: { kind: string; type?: string } | null;
  cost?: number | null;
  cost_estimated?: boolean;
  retries?: number;
  /** Of a row of the store: when it ended, by which the rows are in order. */
  at?: number;
  tool?: string | null;
  first_token?: number | null;
  notice?: string | null;
  /** Wall time. */
  started?: number;
}

export interface QueueRow {
  name: string;
  size: number;
  capacity: number;
  fill: number;
  zone: string;
  peak?: number;
  dropped?: number;
  conflated?: number;
  throttle?: { mode: string; state: string; threshold: number | null };
}

export interface ErrorRow {
  time: number;
  severity: "low" | "medium" | "high" | "critical";
  kind: string;
  type: string;
  where?: string;
  message?: string;
  outcome?: string;
  attempt?: number;
  chat_id?: string;
  host?: string;
  model?: string;
  status?: number;
  error_id?: string;
}

/** As much of an error as its words need. */
export interface Failure {
  kind?: string;
  type?: string;
  host?: string | null;
  where?: string;
  model?: string | null;
}

export interface BreakerRow {
  name: string;
  state: "closed" | "open" | "half_open";
  /** Of all calls since the start; the breaker itself looks at its window only. */
  failures?: number;
  calls?: number;
  window_failures?: number;
  window_calls?: number;
  retry_in?: number | null;
}

export interface McpRow {
  server: string;
  host?: string;
  state: "up" | "down" | "connecting" | "unknown";
  /** A server that is down is asked again right now. */
  probing?: boolean;
  tools?: number;
  retry_in?: number | null;
  reason?: string;
  /** No answer tells that this server is missing. */
  dismissed?: boolean;
}

export interface SeamRow {
  name: string;
  attached: boolean;
  detail?: string;
}

/** The calls of one model at one host, since the start. */
export interface ModelRow {
  model: string;
  host: string;
  chats: number;
  failed: number;
  saved?: number;
  retries?: number;
  calls?: number;
  calls_failed?: number;
  first_token_p50: Quantile;
  first_token_p95?: Quantile;
  tokens_per_second_p50: Quantile;
  input_tokens?: number | null;
  output_tokens?: number | null;
  cached_tokens?: number | null;
  reasoning_tokens?: number | null;
  tokens?: number;
  /** How many of `tokens` are estimated. */
  tokens_estimated?: number;
  cost?: number | null;
  cost_estimated?: boolean;
  local?: boolean;
  last_error?: { kind: string; type?: string; time: number } | null;
}

/** A span of a chat's story; times are seconds since the chat began, `end` is null while it lasts. */
export interface StorySpan {
  kind: "attempt" | "wait" | "tool" | "agent" | "reader";
  start: number;
  end: number | null;
  turn?: number | null;
  attempt?: number | null;
  model?: string | null;
  host?: string | null;
  outcome?: string | null;
  first_token?: number | null;
  finish?: string | null;
  input_tokens?: number | null;
  output_tokens?: number | null;
  cached_tokens?: number | null;
  reasoning_tokens?: number | null;
  /** Tokens of an attempt for which the server told no usage. */
  tokens_estimated?: number | null;
  of?: number | null;
  error?: string | null;
  cut?: number | null;
  seconds?: number | null;
  tool?: string | null;
  length?: number | null;
  agent?: string | null;
  transport?: string | null;
}

/** The body of `/copilot-pulse/events/story`. */
export interface Story {
  chat_id: string;
  kind?: string | null;
  outcome: string | null;
  model?: string | null;
  host?: string | null;
  started: number | null;
  seconds: number | null;
  tokens?: number | null;
  tokens_estimated?: number | boolean;
  input_tokens?: number | null;
  output_tokens?: number | null;
  cached_tokens?: number | null;
  reasoning_tokens?: number | null;
  cost?: number | null;
  cost_estimated?: boolean;
  length?: number | null;
  bytes_sent?: number | null;
  bytes_saved?: number | null;
  notice?: boolean | string | null;
  usage?: Partial<Record<"input_tokens" | "output_tokens" | "cached_tokens" | "reasoning_tokens", number | null>>;
  spans: StorySpan[];
  errors: ({ at: number } & Partial<ErrorRow>)[];
}

/** A row of `/copilot-pulse/events/chats`; `outcome` is null while it runs. */
export type StoredChat = Omit<ChatRow, "state" | "tokens_estimated"> & {
  outcome: string | null;
  /** How many of `tokens` are estimated. */
  tokens_estimated?: number | boolean;
};

/** A row of `/copilot-pulse/events/totals`. */
export interface TotalsRow {
  time: number;
  chats: Record<string, number>;
  errors?: number;
  recovered?: number;
  saved?: number;
  tokens?: number;
  tokens_estimated?: number;
  input_tokens?: number | null;
  output_tokens?: number | null;
  cost?: number | null;
  cost_estimated?: boolean;
}

/** One health check that does not pass; `code` and `values` say the same as `output` for a program. */
export interface HealthProblem {
  check: string;
  status: Health;
  code?: string;
  output?: string;
  advice?: string;
  values?: Record<string, unknown>;
}

/** One machine of the fleet; what it says of itself is cut to these names by the server. */
export interface FleetRow {
  boot: string;
  name: string;
  here: boolean;
  state: "up" | "gone" | "left";
  /** How long it has been so. */
  seconds: number | null;
  behind: number;
  status: {
    health: string;
    impact: string;
    summary: string;
    chats: number | null;
    failed: number | null;
    first_token: number | null;
    lag: number | null;
    current: { chat_id: string; model: string; state: string; seconds: number | null; tokens: number | null }[];
    problems: { check: string; output: string }[];
  };
}

export interface FleetEvent {
  /** Its number, which the panel works out. */
  seq: number;
  instance: string;
  key: string;
  type: string;
  time: number;
  data: Record<string, unknown>;
}

/** The body of `/copilot-pulse/metrics`. The server may add keys. */
export interface Snapshot {
  version: string;
  /** Another one after each start of the server. */
  boot: string;
  time: number;
  /** There are figures and nothing else: the server shows no panel. */
  private?: boolean;
  uptime_seconds: number;
  /** How many machines are known; null without a fleet. */
  fleet?: { up: number; gone: number } | null;
  events: {
    published_total: number;
    rate: Record<string, number>;
    latency_seconds: { p50: Quantile; p90: Quantile; p99: Quantile; max: Quantile; count: number };
    by_type: Record<string, number>;
    queues: QueueRow[];
    dropped_total: number;
    conflated_total: number;
  };
  errors: {
    total: number;
    by_severity: Record<string, number>;
    by_type: Record<string, number>;
    by_kind: Record<string, number>;
    retries: number;
    recovered: number;
    gave_up: number;
    recovery_rate: number | null;
    saved?: number;
    explained?: number;
    window_seconds?: number;
    recent: ErrorRow[];
    breakers: BreakerRow[];
  };
  system: {
    rss_bytes: number;
    cpu_percent: number;
    connections: { chats: number; panels: number; websockets: number };
    loop_lag_seconds: { p50: Quantile; p99: Quantile; max: Quantile };
    last_stall: { seconds: number; frame: string; time?: number } | null;
    threads: number;
  };
  chat: {
    active: number;
    completed: number;
    failed: number;
    cancelled: number;
    /** Of the last hour; `exact` while the count is small. */
    first_token_seconds: { p50: Quantile; p90: Quantile; p99: Quantile; max: Quantile; count: number; exact?: boolean };
    tokens_per_second: { p50: Quantile; count: number };
    length_chars: { p50: Quantile };
    bytes_sent_total: number;
    bytes_saved_total: number;
    models: ModelRow[];
    /** Chats that were saved, failed with a sentence that says why, and had a failed attempt; all since the start. */
    saved?: number;
    explained?: number;
    failures?: number;
    /** What was written, told by servers or estimated. */
    tokens?: number;
    input_tokens?: number | null;
    output_tokens?: number | null;
    cached_tokens?: number | null;
    reasoning_tokens?: number | null;
    tokens_estimated?: number;
    cost?: number | null;
    cost_estimated?: boolean;
    /** What stands before the numbers of the reader's prices. */
    currency?: string;
    since_install?: {
      since: number;
      chats: number;
      saved: number;
      tokens: number;
      tokens_estimated?: number;
      cost: number | null;
      cost_estimated?: boolean;
    } | null;
    current: ChatRow[];
  };
  mcp: McpRow[];
  seams: SeamRow[];
  /** `problems`: the worst first. */
  health: { status: Health; summary?: string; advice?: string; impact?: string; problems?: HealthProblem[] };
}

export interface LogEvent {
  id: string;
  type: string;
  time: number;
  source?: string;
  session?: string | null;
  data: Record<string, unknown>;
}

export interface Update {
  snapshot: Snapshot;
  events: LogEvent[];
}

export type SeriesName =
  | "events_rate"
  | "queue_fill"
  | "queue_threshold"
  | "latency_p50"
  | "latency_p99"
  | "first_token_p50"
  | "tokens_per_second"
  | "errors"
  | "recovery_rate"
  | "rss_bytes"
  | "cpu_percent"
  | "loop_lag_p99"
  | "chats_active";

export type Series = Record<SeriesName, (number | null)[]>;

export interface History {
  range: RangeName;
  step: number;
  end: number;
  series: Series;
  /** Times in which the program did not run. */
  down?: [number, number][];
}

/**
 * What carries the panel's data: `update` (CustomEvent with an `Update`), `open` (connected, or connected again)
 * and `close` (the live connection was lost) events, and requests to the server.
 */
export interface Transport extends EventTarget {
  /** The id that the server knows this page by; read anew for each request. */
  readonly clientId: string;
  /** Whether the live connection stands now. */
  readonly connected: boolean;
  /** Fetch a path of the server such as `/copilot-pulse/metrics`; the host adds its own prefix. */
  fetch(path: string, init?: RequestInit): Promise<Response>;
}

export type Params = Record<string, string | number>;
/** The text of `key`; `{name}` is replaced, and `n` in the parameters picks the plural form. */
export type Translate = (key: string, params?: Params) => string;

export type Connection = "connecting" | "live" | "lost" | "unreachable" | "refused" | "absent" | "private";

export interface Format {
  number(value: number | null | undefined, digits?: number): string;
  compact(value: number | null | undefined): string;
  percent(share: number | null | undefined): string;
  bytes(value: number | null | undefined): string;
  seconds(value: number | null | undefined): string;
  duration(value: number | null | undefined): string;
  clock(wall: number, precise?: boolean): string;
  when(wall: number, now: number): string;
  day(wall: number): string;
  weekday(wall: number): string;
  /** `sign` is what the reader's prices begin with, such as $. */
  money(value: number | null | undefined, sign?: string): string;
  /** Labels of a scale, lowest first: all in the unit of the highest, with as many digits as tell them apart. */
  axis(values: readonly number[], unit: "number" | "percent" | "share" | "seconds" | "bytes"): string[];
}

/** Ways from one thing to another: whoever shows it opens it, brings it into sight and gives it the focus. */
export interface Ways {
  on(what: "chat" | "problem" | "log", show: (id: string) => void): void;
  go(what: "chat" | "problem" | "log", id: string): void;
}

/** What a view gets: texts, numbers, the state, and the signal that ends it. */
export interface ViewContext {
  t: Translate;
  format: Format;
  service: import("./panel/service.js").PulseService;
  signal: AbortSignal;
  ways: Ways;
}

export interface View {
  element: HTMLElement;
  /** Show the service's state; cheap when nothing changed. */
  update(): void;
}
