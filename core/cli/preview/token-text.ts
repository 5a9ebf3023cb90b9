import type pc from 'picocolors';
import type { ShownToken } from './example-tokens.ts';

type Colors = ReturnType<typeof pc.createColors>;

/** Characters that would move the cursor or hide themselves, made visible. */
const INVISIBLE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

/**
 * Tokens as text in which what is trained on stands out. With colours: trained tokens green, the others dim, every
 * other token underlined so that boundaries are seen. Without: `[trained]`, and `|` between tokens that are not.
 * A line end is shown as `\n` and breaks the line.
 */
export function tokenText(tokens: readonly ShownToken[], colors: Colors): string {
  if (!colors.isColorSupported) return plainText(tokens);
  return tokens
    .map(({ text, trained }, index) => {
      const paint = (part: string): string => {
        if (part === '') return '';
        const shaded = index % 2 === 1 ? colors.underline(part) : part;
        return trained ? colors.green(shaded) : colors.dim(shaded);
      };
      // Painted line by line: a colour that goes over a line end smears in some terminals.
      return visible(text).split('\n').map(paint).join('\n');
    })
    .join('');
}

function plainText(tokens: readonly ShownToken[]): string {
  return tokens
    .map(({ text, trained }, index) => {
      const shown = visible(text);
      if (trained) return shown.endsWith('\n') ? `[${shown.slice(0, -1)}]\n` : `[${shown}]`;
      const next = tokens[index + 1];
      return next === undefined || next.trained || shown.endsWith('\n') ? shown : `${shown}|`;
    })
    .join('');
}

function visible(text: string): string {
  return text.replaceAll(INVISIBLE, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`).replaceAll('\t', '\\t').replaceAll('\n', '\\n\n');
}
