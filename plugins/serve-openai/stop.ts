/** Finds stop strings in text that arrives in pieces, and lets no part of one through. */

export class StopScanner {
  readonly #stops: readonly string[];
  #held = '';

  constructor(stops: readonly string[]) {
    this.#stops = stops;
  }

  /**
   * Takes the next piece.
   * @returns the text that is certainly not part of a stop string, and whether one was met: then nothing follows
   */
  push(piece: string): { readonly text: string; readonly stopped: boolean } {
    const text = this.#held + piece;
    const found = this.#stops.map((stop) => text.indexOf(stop)).filter((at) => at !== -1);
    if (found.length > 0) {
      this.#held = '';
      return { text: text.slice(0, Math.min(...found)), stopped: true };
    }
    const keep = this.#longestBeginning(text);
    this.#held = text.slice(text.length - keep);
    return { text: text.slice(0, text.length - keep), stopped: false };
  }

  /** What was held back, when the text ends without a stop string. */
  flush(): string {
    const text = this.#held;
    this.#held = '';
    return text;
  }

  /** Length of the longest end of `text` with which a stop string begins. */
  #longestBeginning(text: string): number {
    let longest = 0;
    for (const stop of this.#stops) {
      for (let length = Math.min(stop.length - 1, text.length); length > longest; length--) {
        if (text.endsWith(stop.slice(0, length))) longest = length;
      }
    }
    return longest;
  }
}
