/** Options that several commands take, and how their values are read. */
import { InvalidArgumentError, Option } from 'commander';

/** `--set path=value`, as often as wanted. @param what is overridden, as the help says it */
export function setOption(what = 'an option, such as train.learning_rate=1e-4'): Option {
  return new Option('--set <path=value>', `override ${what} (repeatable)`).default([]).argParser((value: string, all: readonly string[]) => [...all, value]);
}

/** Reads a number. @param what it is, for whoever gave another */
export function bounded(what: string, holds: (value: number) => boolean): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === '' || Number.isNaN(value) || !holds(value)) throw new InvalidArgumentError(`It is ${what}.`);
    return value;
  };
}
