/** Errors for the person who meets them: what is wrong, where, what to do. */

/** A place in a config, from the entry that a plugin was given: `['target_modules', 0]`. */
export type OptionPath = readonly (string | number)[];

export interface GraftErrorOptions {
  /** The option of the plugin's own config that is at fault; whoever knows the file turns it into file:line:column. */
  readonly option?: OptionPath;
  /** What to do about it, a sentence. */
  readonly hint?: string;
  readonly cause?: unknown;
}

/**
 * A mistake that a user can mend. Printed without a stack trace.
 * `code` is stable and in capitals, such as `TARGET_MODULES_NO_MATCH`.
 */
export class GraftError extends Error {
  override readonly name = 'GraftError';
  readonly code: string;
  readonly option?: OptionPath;
  readonly hint?: string;

  constructor(code: string, message: string, options: GraftErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.option = options.option;
    this.hint = options.hint;
  }

  /** Works across copies of this module: a plugin's own bundle may carry one. */
  static is(error: unknown): error is GraftError {
    return error instanceof Error && error.name === 'GraftError' && typeof (error as { code?: unknown }).code === 'string';
  }
}

/** The message of anything that was thrown. */
export function reasonOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
