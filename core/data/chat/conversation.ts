/** Who says something. */
export type Role = 'system' | 'user' | 'assistant' | 'tool';

/** One turn of a conversation. */
export interface Turn {
  readonly role: Role;
  readonly content: string;
  /** Alpaca keeps the task and its input apart; `content` is then both, joined by a line end. */
  readonly task?: { readonly instruction: string; readonly input: string };
  /** False where the data says that this turn of the assistant is not to be trained on. */
  readonly trained: boolean;
  /** What else the message has, for the chat template: `name`, `tool_calls`, `tool_call_id`... */
  readonly extra: Readonly<Record<string, unknown>>;
}

/** A row, whatever its format was. The last turn is the assistant's. */
export interface Conversation {
  readonly turns: readonly Turn[];
  /** A prompt and its completion as they are: `template: auto` adds nothing to them. */
  readonly plain: boolean;
}

export function turn(role: Role, content: string, parts: Partial<Omit<Turn, 'role' | 'content'>> = {}): Turn {
  return { role, content, trained: true, extra: {}, ...parts };
}
