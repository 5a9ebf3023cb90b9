/** The host's database: one SQLite file with one writer, behind as much of SQL as is needed. */

/** What SQLite keeps. Booleans are 0 and 1, times Unix milliseconds. */
export type SqlValue = string | number | null | Uint8Array;
export type SqlRow = Readonly<Record<string, SqlValue>>;
/** By name, for `:name` in the statement. */
export type SqlParameters = Readonly<Record<string, SqlValue | undefined>>;

export interface Database {
  /** Rows of a query. Statements are prepared once. */
  all(sql: string, parameters?: SqlParameters): readonly SqlRow[];
  /** The first row. */
  get(sql: string, parameters?: SqlParameters): SqlRow | undefined;
  /** @returns rows changed */
  run(sql: string, parameters?: SqlParameters): number;
  /**
   * All that `act` does, or nothing. May be called inside another, and is then a part of it.
   * @throws what `act` throws, and GraftError `DISK_FULL`
   */
  transaction<T>(act: () => T): T;
  /**
   * Brings the tables of one owner to their newest form, each step once and in order.
   * @param owner such as `queue-sqlite`
   * @param steps SQL; steps that were released are never changed
   */
  migrate(owner: string, steps: readonly string[]): void;
}
