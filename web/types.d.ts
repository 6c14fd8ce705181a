/** Shapes that the panel's modules share. Times are seconds, wall times are seconds since 1970, sizes are bytes. */

export type Health = "pass" | "warn" | "fail";
export type ChatState = "waiting" | "streaming" | "retrying" | "tool" | "done" | "failed" | "cancelled";
export type RangeName = "1m" | "1h" | "24h";
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

export interface BreakerRow {
  name: string;
  state: "closed" | "open" | "half_open";
  failures?: number;
  calls?: number;
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
    first_token_seconds: { p50: Quantile; p90: Quantile; p99: Quantile; max: Quantile; count: number };
    tokens_per_second: { p50: Quantile; count: number };
    length_chars: { p50: Quantile };
    bytes_sent_total: number;
    bytes_saved_total: number;
    models: {
      model: string;
      host: string;
      chats: number;
      failed: number;
      first_token_p50: Quantile;
      tokens_per_second_p50: Quantile;
    }[];
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

export type Connection = "connecting" | "live" | "lost" | "unreachable" | "refused" | "absent";

export interface Format {
  number(value: number | null | undefined, digits?: number): string;
  compact(value: number | null | undefined): string;
  percent(share: number | null | undefined): string;
  bytes(value: number | null | undefined): string;
  seconds(value: number | null | undefined): string;
  duration(value: number | null | undefined): string;
  clock(wall: number, precise?: boolean): string;
  when(wall: number, now: number): string;
  /** Labels of a scale, lowest first: all in the unit of the highest, with as many digits as tell them apart. */
  axis(values: readonly number[], unit: "number" | "percent" | "share" | "seconds" | "bytes"): string[];
}

/** What a view gets: texts, numbers, the state, and the signal that ends it. */
export interface ViewContext {
  t: Translate;
  format: Format;
  service: import("./panel/service.js").PulseService;
  signal: AbortSignal;
}

export interface View {
  element: HTMLElement;
  /** Show the service's state; cheap when nothing changed. */
  update(): void;
}
