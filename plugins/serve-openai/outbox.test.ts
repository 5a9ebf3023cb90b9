import { EventEmitter } from 'node:events';
import type { ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import type { AnswerPart } from './answer.ts';
import { EventStream } from './event-stream.ts';
import { Outbox, type Parcel } from './outbox.ts';

const text = (text: string): AnswerPart => ({ type: 'text', text, tokens: [] });
const end: AnswerPart = { type: 'end', finishReason: 'stop', cachedTokens: 0, completionTokens: 2 };

describe('Outbox', () => {
  it('hands out each piece as it comes to whoever keeps up', async () => {
    const outbox = new Outbox();
    const parcels = outbox.parcels();
    for (const piece of ['a', 'b']) {
      const next = parcels.next();
      outbox.add(0, text(piece));
      expect((await next).value).toMatchObject({ index: 0, text: piece, finishReason: undefined });
    }
  });

  it('puts together what waits, a parcel for each choice, the one that waits longest first', async () => {
    const outbox = new Outbox();
    outbox.add(1, text('x'));
    outbox.add(0, text('a'));
    outbox.add(1, text('y'));
    outbox.add(1, end);
    outbox.close('whole');
    const parcels: Parcel[] = [];
    for await (const parcel of outbox.parcels()) parcels.push(parcel);
    expect(parcels).toEqual([
      { index: 1, text: 'xy', tokens: [], finishReason: 'stop' },
      { index: 0, text: 'a', tokens: [], finishReason: undefined },
    ]);
  });

  it('gives out what came before a failure, then the failure', async () => {
    const outbox = new Outbox();
    outbox.add(0, text('a'));
    outbox.close({ error: new Error('broken') });
    const parcels = outbox.parcels();
    expect((await parcels.next()).value).toMatchObject({ text: 'a' });
    await expect(parcels.next()).rejects.toThrow('broken');
  });
});

describe('EventStream', () => {
  it('cuts a client off that takes nothing, so that what waits for it goes', async () => {
    const gone = new AbortController();
    // A connection whose window is full for good.
    const response = Object.assign(new EventEmitter(), { writeHead: () => undefined, write: () => false, destroy: () => gone.abort(new Error('closed')) });
    const stream = new EventStream(response as unknown as ServerResponse, {}, 1);
    await expect(stream.send({}, gone.signal)).rejects.toThrow('closed');
  });
});
