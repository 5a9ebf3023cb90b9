import type { Token } from '../contracts/index.ts';

/** Names a service and gives it a type: `const clock = token<Clock>('clock')`. Two tokens of one name are one service. */
export function token<T>(name: string): Token<T> {
  return Object.freeze({ name });
}
