/** A Hugging Face Hub of one model on this machine, with its large files on a second server, as on the real one. */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { readdir, readFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

export const COMMIT = '0123456789abcdef0123456789abcdef01234567';

export interface HubRequest {
  readonly host: 'hub' | 'files';
  readonly path: string;
  readonly range: string | undefined;
  readonly authorization: string | undefined;
}

export interface FakeHub {
  readonly endpoint: string;
  readonly requests: HubRequest[];
  /** Says how to answer differently from now on. */
  readonly behaviour: {
    /** Only who brings this token sees the model. */
    token?: string;
    gated?: boolean;
    /** The connection is cut after so many bytes of a large file, once for each entry. */
    cutAfter: number[];
    /** Changes what is sent of a large file. */
    damage?: (content: Buffer) => Buffer;
    /** Ranges are ignored, as some proxies do. */
    wholeFilesOnly?: boolean;
  };
  close(): Promise<void>;
}

interface Content {
  readonly bytes: Buffer;
  readonly etag: string;
  readonly large: boolean;
}

/** Serves a folder as the model `owner/name`. */
export async function startHub(dir: string, model = 'owner/name'): Promise<FakeHub> {
  const contents = new Map<string, Content>();
  for (const path of await readdir(dir)) {
    const bytes = await readFile(join(dir, path));
    const large = path.endsWith('.safetensors') || path.endsWith('.bin');
    const etag = large ? createHash('sha256').update(bytes).digest('hex') : createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex');
    contents.set(path, { bytes, etag, large });
  }
  const requests: HubRequest[] = [];
  const behaviour: FakeHub['behaviour'] = { cutAfter: [] };
  const record = (host: HubRequest['host'], request: IncomingMessage) =>
    requests.push({ host, path: request.url!, range: request.headers.range, authorization: request.headers.authorization });

  const files = await listen((request, response) => {
    record('files', request);
    const { bytes } = contents.get(decodeURIComponent(request.url!.slice(1)))!;
    sendFile(request, response, behaviour.damage?.(bytes) ?? bytes, behaviour);
  });

  const hub = await listen((request, response) => {
    record('hub', request);
    const url = new URL(request.url!, 'http://hub');
    const refuse = (status: number, code: string, error: string) => response.writeHead(status, { 'X-Error-Code': code, 'Content-Type': 'application/json' }).end(JSON.stringify({ error }));
    const [, path] = new RegExp(`^(?:/api/models)?/${model}/(.*)$`).exec(url.pathname) ?? [];
    if (path === undefined || (behaviour.token !== undefined && request.headers.authorization !== `Bearer ${behaviour.token}`)) return refuse(401, 'RepoNotFound', 'Repository not found');
    const [kind, revision, ...rest] = path.split('/').map(decodeURIComponent);
    if (revision !== 'main' && revision !== COMMIT) return refuse(404, 'RevisionNotFound', 'Invalid rev id');
    if (kind === 'revision') return response.setHeader('Content-Type', 'application/json').end(JSON.stringify({ _id: 'x', id: model, sha: COMMIT, private: false, gated: false, downloads: 1, likes: 1, lastModified: '2026-01-01' }));
    if (kind === 'tree') {
      const list = [...contents].map(([name, { bytes, etag, large }]) => ({ type: 'file', path: name, size: bytes.length, oid: large ? 'f'.repeat(40) : etag, ...(large ? { lfs: { oid: etag, size: bytes.length, pointerSize: 130 } } : {}) }));
      return response.setHeader('Content-Type', 'application/json').end(JSON.stringify(list));
    }
    const content = contents.get(rest.join('/'));
    if (behaviour.gated === true) return refuse(403, 'GatedRepo', 'Access to this model is restricted');
    if (content === undefined) return refuse(404, 'EntryNotFound', 'Entry not found');
    response.setHeader('X-Repo-Commit', COMMIT);
    if (!content.large) return sendFile(request, response.setHeader('ETag', `"${content.etag}"`), content.bytes, { cutAfter: [] });
    return response.writeHead(302, { Location: `${urlOf(files)}/${rest.join('/')}`, 'X-Linked-ETag': `"${content.etag}"`, 'X-Linked-Size': content.bytes.length }).end();
  });

  const close = async () => {
    for (const server of [hub, files]) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  };
  onTestFinished(close);
  return { endpoint: urlOf(hub), requests, behaviour, close };
}

function sendFile(request: IncomingMessage, response: ServerResponse, bytes: Buffer, { cutAfter, wholeFilesOnly }: FakeHub['behaviour']): void {
  const start = wholeFilesOnly === true ? 0 : Number(/^bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
  const part = bytes.subarray(start);
  response.writeHead(start > 0 ? 206 : 200, { 'Content-Length': part.length, ...(start > 0 ? { 'Content-Range': `bytes ${start}-${bytes.length - 1}/${bytes.length}` } : {}) });
  const cut = cutAfter.shift();
  if (cut === undefined) response.end(part);
  else response.write(part.subarray(0, cut), () => setTimeout(() => response.destroy(), 20));
}

async function listen(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<Server> {
  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}

function urlOf(server: Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
