import { once } from 'node:events';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import OpenAI, { toFile } from 'openai';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { startDaemon, type TestDaemon } from '../../support/daemon.ts';

const MIB = 2 ** 20;

let test: TestDaemon;
let client: OpenAI;

const connected = (): OpenAI => new OpenAI({ baseURL: `${test.daemon().url}/v1`, apiKey: 'any', maxRetries: 0 });
const kept = (): readonly string[] => readdirSync(join(test.dir, 'state', 'files'));
const upload = async (text: string | Buffer, name = 'a.jsonl', purpose: OpenAI.FilePurpose = 'fine-tune', headers: Record<string, string> = {}): Promise<OpenAI.FileObject> =>
  client.files.create({ file: await toFile(Buffer.from(text), name), purpose }, { headers });

beforeAll(async () => {
  test = await startDaemon({ uploads: { file_mb: 8, total_mb: 12, line_kb: 1, rows: 4, depth: 3 } });
  client = connected();
});
afterEach(async () => {
  for await (const { id } of client.files.list()) await client.files.delete(id);
});
afterAll(() => test.close());

describe('files', () => {
  it('are kept as they came over a restart, by id and never by name, until they are deleted', async () => {
    const file = await upload('{"a":1}\n\n{"b":[{}]}\n', '../../etc/passwd.jsonl');
    expect(file).toMatchObject({ object: 'file', bytes: 20, purpose: 'fine-tune', status: 'processed' });
    expect(file.id).toMatch(/^file-[0-9a-f]{24}$/);
    expect(kept()).toEqual([`${file.id}.jsonl`]);
    // What a host that was killed left behind: an upload that was not done, and one whose row was not written.
    for (const name of ['abc.receiving', 'file-000000000000000000000000.jsonl']) writeFileSync(join(test.dir, 'state', 'files', name), 'x');
    await test.restart();
    client = connected();
    expect(kept()).toEqual([`${file.id}.jsonl`]);
    expect(await client.files.retrieve(file.id)).toEqual(file);
    expect(await (await client.files.content(file.id)).text()).toBe('{"a":1}\n\n{"b":[{}]}\n');
    expect(await client.files.delete(file.id)).toEqual({ id: file.id, object: 'file', deleted: true });
    await expect(client.files.retrieve(file.id)).rejects.toMatchObject({ status: 404, param: 'file_id', code: 'file_not_found' });
    await expect(client.files.content(file.id)).rejects.toMatchObject({ status: 404 });
    expect(kept()).toEqual([]);
  });

  it('are listed by pages, in either order and by purpose', async () => {
    for (const name of ['1', '2', '3']) await upload(`{"n":${name}}`, name, name === '2' ? 'user_data' : 'fine-tune');
    const names = async (query: OpenAI.FileListParams): Promise<readonly string[]> => {
      const seen: string[] = [];
      for await (const { filename } of client.files.list(query)) seen.push(filename);
      return seen;
    };
    expect(await names({ limit: 1 })).toEqual(['3', '2', '1']);
    expect(await names({ limit: 2, order: 'asc' })).toEqual(['1', '2', '3']);
    expect(await names({ purpose: 'fine-tune' })).toEqual(['3', '1']);
    expect(await client.files.list({ limit: 2 })).toMatchObject({ has_more: true, data: [{ filename: '3' }, { filename: '2' }] });
  });

  it('are one where an upload is sent again', async () => {
    const first = await upload('{"a":2}');
    expect((await upload('{"a":2}', 'a.jsonl', 'fine-tune', { 'x-stainless-retry-count': '1' })).id).toBe(first.id);
    const other = await upload('{"a":2}');
    expect(other.id).not.toBe(first.id);
    for (const { id } of [first, other]) await client.files.delete(id);
    expect(kept()).toEqual([]);
  });

  it('say when they expire, where their sender asked for it, over a restart and a second sending', async () => {
    const send = async (seconds: number, headers: Record<string, string> = {}): Promise<OpenAI.FileObject> =>
      client.files.create({ file: await toFile(Buffer.from('{"a":3}'), 'a.jsonl'), purpose: 'fine-tune', expires_after: { anchor: 'created_at', seconds } }, { headers });
    const file = await send(3600);
    expect(file.expires_at! - file.created_at).toBe(3600);
    expect(await upload('{"a":4}')).not.toHaveProperty('expires_at');
    expect((await send(3600, { 'x-stainless-retry-count': '1' })).id).toBe(file.id);
    expect((await send(2_592_000, { 'x-stainless-retry-count': '1' })).id).not.toBe(file.id);
    await test.restart();
    client = connected();
    expect(await client.files.retrieve(file.id)).toEqual(file);
  });

  it.each([
    [{ anchor: 'created_at', seconds: 3599 }, 'expires_after[seconds]', 'invalid_value', /must be a whole number from 3600 to 2592000/],
    [{ anchor: 'created_at', seconds: 2_592_001 }, 'expires_after[seconds]', 'invalid_value', /must be a whole number/],
    [{ anchor: 'created_at', seconds: 4000.5 }, 'expires_after[seconds]', 'invalid_value', /must be a whole number/],
    [{ anchor: 'last_used', seconds: 4000 }, 'expires_after[anchor]', 'invalid_value', /it may be created_at/],
    [{ anchor: 'created_at' }, 'expires_after[seconds]', 'missing_required_parameter', /Missing required parameter/],
    [{ seconds: 4000 }, 'expires_after[anchor]', 'missing_required_parameter', /Missing required parameter/],
    [{ anchor: 'created_at', seconds: 4000, minutes: 2 }, 'expires_after[minutes]', 'unknown_parameter', /Unrecognized request argument/],
  ])('that are to expire at %j are refused', async (expires_after, param, code, message) => {
    const file = await toFile(Buffer.from('{}'), 'a.jsonl');
    await expect(client.files.create({ file, purpose: 'fine-tune', expires_after: expires_after as OpenAI.FileCreateParams.ExpiresAfter })).rejects.toMatchObject({ status: 400, param, code, message: expect.stringMatching(message) as string });
    expect(kept()).toEqual([]);
  });

  it('may come after their purpose or before it', async () => {
    for (const parts of [['purpose', 'file'], ['file', 'purpose']]) {
      const form = new FormData();
      for (const part of parts) form.append(part, part === 'file' ? new File(['{}\n'], 'a.jsonl') : 'fine-tune');
      const answer = await fetch(`${test.daemon().url}/v1/files`, { method: 'POST', body: form });
      expect(answer.status).toBe(200);
      await client.files.delete(((await answer.json()) as { readonly id: string }).id);
    }
  });

  it.each([
    ['a line that is not JSON', '{}\n{"a":\n', /^400 Line 2 of the file: it is not JSON/],
    ['a line that is no object', '{}\n\n[1]\n', /^400 Line 3 of the file: it is not a JSON object/],
    ['a line that is too long', `{}\n{"a":"${'x'.repeat(2000)}"}\n`, /^400 Line 2 of the file: it has/],
    ['more rows than there may be', '{}\n{}\n{}\n{}\n{}\n', /^400 Line 5 of the file: there are more than 4 rows/],
    ['lists too deep in each other', '{}\n{"a":[[[1]]]}\n', /^400 Line 2 of the file: lists and objects stand in each other more than 3 deep/],
    ['text that is not UTF-8', Buffer.concat([Buffer.from('{"a":"'), Buffer.from([0xff]), Buffer.from('"}')]), /^400 Line 1 of the file: it is not UTF-8/],
    ['no rows', '\n \n', /^400 The file has no rows/],
  ])('with %s are refused, and nothing is kept', async (_, text, message) => {
    await expect(upload(text)).rejects.toMatchObject({ status: 400, param: 'file', code: 'file_invalid', message: expect.stringMatching(message) as string });
    expect(kept()).toEqual([]);
  });

  it.each([
    ['model.pt', Buffer.from('{}')],
    ['model.bin', Buffer.from('{}')],
    ['a.pkl', Buffer.from('{}')],
    ['harmless.txt', Buffer.from([0x80, 0x04, 0x95])],
    ['archive.txt', Buffer.from('PK\u0003\u0004....archive/data.pkl', 'latin1')],
  ])('that could run code are refused: %s', async (name, bytes) => {
    await expect(upload(bytes, name, 'user_data')).rejects.toMatchObject({ status: 400, code: 'file_refused', message: expect.stringContaining('safetensors') as string });
    expect(kept()).toEqual([]);
  });

  it.each(['..%2F..%2Fgraft.db', '%2e%2e%2fgraft.db', 'file-x%00', '..%5Cgraft.db', '%2Fetc%2Fpasswd'])('are not found at a path: %s', async (id) => {
    for (const path of [`/v1/files/${id}`, `/v1/files/${id}/content`]) {
      const answer = await fetch(`${test.daemon().url}${path}`);
      expect(answer.status).toBe(404);
      expect(await answer.json()).toMatchObject({ error: { type: 'invalid_request_error' } });
    }
    expect((await fetch(`${test.daemon().url}/v1/files/${id}`, { method: 'DELETE' })).status).toBe(404);
    expect(existsSync(join(test.dir, 'state', 'graft.db'))).toBe(true);
  });

  it('of 2 GB are refused while they come, with an answer and without filling anything', async () => {
    const chunk = Buffer.alloc(MIB);
    let sent = 0;
    async function* zeros(): AsyncGenerator<Buffer> {
      for (; sent < 2048; sent++) yield chunk;
    }
    const before = process.memoryUsage.rss();
    await expect(client.files.create({ file: zeros() as never, purpose: 'fine-tune' })).rejects.toMatchObject({ status: 413, param: 'file', code: 'file_too_large' });
    expect(sent).toBeLessThan(1024);
    expect(process.memoryUsage.rss() - before).toBeLessThan(400 * MIB);
    expect(kept()).toEqual([]);
    expect((await client.files.list()).data).toEqual([]);
  });

  it.each([
    ['in no part of their form', ''],
    ['in the file, after much that is in no part', `${'x'.repeat(6 * MIB)}\r\n--b\r\ncontent-disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n`],
  ])('that go on for ever %s are refused, too', async (_, begin) => {
    const out = httpRequest(`${test.daemon().url}/v1/files`, { method: 'POST', headers: { 'content-type': 'multipart/form-data; boundary=b' }, agent: false }).on('error', () => undefined);
    const answered = (once(out, 'response') as Promise<[IncomingMessage]>).then(async ([answer]) => ({ status: answer.statusCode, text: await text(answer) }));
    out.write(begin);
    let [sent, told] = [0, false];
    void answered.then(() => (told = true));
    for (const zeros = Buffer.alloc(MIB / 4); !told && sent < 2048 * MIB; sent += zeros.length) {
      if (!out.write(zeros)) await Promise.race([once(out, 'drain').catch(() => undefined), answered]);
    }
    expect(await answered).toMatchObject({ status: 413, text: expect.stringContaining('file_too_large') as string });
    expect(sent).toBeLessThan(1024 * MIB);
    out.destroy();
    while (kept().length > 0) await sleep(10);
    // Nor does what was refused take room.
    await client.files.delete((await upload(Buffer.alloc(7 * MIB, 'x'), 'big', 'user_data')).id);
  });

  it('that say how large they are and are too large are refused before they are read', async () => {
    const { hostname, port, host } = new URL(test.daemon().url);
    const socket = connect(Number(port), hostname);
    socket.write(`POST /v1/files HTTP/1.1\r\nhost: ${host}\r\ncontent-type: multipart/form-data; boundary=b\r\ncontent-length: ${2 ** 31}\r\n\r\n`);
    let text = '';
    for await (const piece of socket) {
      text += String(piece);
      if (text.includes('\r\n\r\n{')) break;
    }
    expect(text).toMatch(/^HTTP\/1\.1 413 [\s\S]*file_too_large/);
    socket.destroy();
  });

  it('share their room, those that are still coming included', async () => {
    const big = Buffer.alloc(7 * MIB, 'x');
    const settled = await Promise.allSettled([1, 2, 3].map((n) => upload(big, `big-${n}`, 'user_data')));
    const ids = settled.flatMap((each) => (each.status === 'fulfilled' ? [each.value.id] : []));
    expect(ids).toHaveLength(1);
    expect(settled.filter(({ status }) => status === 'rejected').map((each) => (each as PromiseRejectedResult).reason as unknown)).toEqual([1, 2].map(() => expect.objectContaining({ status: 413, code: 'store_full' }) as unknown));
    await client.files.delete(ids[0]!);
    expect(kept()).toEqual([]);
  });

  it('whose sender goes away in the middle leave nothing', async () => {
    const { hostname, port, host } = new URL(test.daemon().url);
    const socket = connect(Number(port), hostname);
    const body = '--b\r\ncontent-disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{}\n';
    socket.write(`POST /v1/files HTTP/1.1\r\nhost: ${host}\r\ncontent-type: multipart/form-data; boundary=b\r\ntransfer-encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n${body}\r\n`);
    while (kept().length === 0) await sleep(10);
    socket.destroy();
    while (kept().length > 0) await sleep(10);
    expect((await client.files.list()).data).toEqual([]);
  });
});
