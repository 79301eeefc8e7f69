// `vreserve store serve`: a store over HTTP, as go-storage-server is run: on a directory, without a mount.
import { resolve } from 'node:path';
import { parseTimerMs } from '../core/duration.js';
import { VreserveError } from '../core/errors.js';
import { formatAddress, type HttpAddress, isLoopback, parseHttpAddress } from '../core/http-address.js';
import { LEAST_GC_INTERVAL_MS } from '../core/store-layout.js';
import { HttpService } from '../http/service.js';
import { openLog } from '../log.js';
import type { Store } from '../store/store.js';
import { readVersion } from '../version.js';
import type { Command } from './command.js';

import { note, print, printJson } from './output.js';
import { openStore } from './store-open.js';
import { readToken } from './token-file.js';

const DEFAULT_ADDRESS = '127.0.0.1:7777';
const DEFAULT_INTERVAL = '5s';

export const serve: Command = {
  usage: 'store serve DIR [-s ADDRESS] [--gc-interval DURATION] [--token-file FILE]',
  description: [
    'Serves the store in the directory DIR over HTTP until Ctrl-C: POST, PUT, GET, HEAD and DELETE of /store/NAME, the list',
    '/store/, and /healthz, as go-storage-server answers. DIR is made where it is missing. It is no mount: nothing but the disk',
    'limits the store. At the first SIGINT or SIGTERM requests under way are finished, at a second one they are broken off.',
    'It logs JSON lines to stderr.',
  ],
  examples: ['vreserve store serve /srv/blobs', 'curl --data-binary @photo.jpg http://127.0.0.1:7777/store/photo'],
  options: {
    listen: { type: 'string', short: 's', unit: 'ADDRESS', help: `HOST:PORT or unix:PATH to listen on (${DEFAULT_ADDRESS})` },
    'http-any': { type: 'boolean', help: 'let it listen where other machines can connect' },
    'gc-interval': {
      type: 'string',
      unit: 'DURATION',
      help: `how often files of removed and replaced blobs are removed (${DEFAULT_INTERVAL})`,
    },
    'token-file': { type: 'string', unit: 'FILE', help: 'ask for the token in this file; else who connects may do all' },
  },
  words: [1, 1],
  async run({ positionals: [dir = ''], text, flag, json }) {
    const address = addressOf(text('listen') ?? DEFAULT_ADDRESS, flag('http-any'));
    const gcIntervalMs = parseTimerMs(text('gc-interval') ?? DEFAULT_INTERVAL, LEAST_GC_INTERVAL_MS);
    const tokenFile = text('token-file');
    const token = tokenFile === undefined ? null : readToken(resolve(tokenFile));
    const log = openLog(null, 'info');
    const store = await openStore(dir, { gcIntervalMs, log });
    try {
      const service = await HttpService.forStore(store, { address, socketMode: 0o600, token, log, version: readVersion() });
      if (token === null && !isLoopback(address)) {
        note('nobody is asked who they are: whoever connects can read, replace and remove every blob');
      }
      await serveUntilStopped(service, store, json);
    } finally {
      await store.close();
    }
    return 0;
  },
};

async function serveUntilStopped(service: HttpService, store: Store, json: boolean): Promise<void> {
  const stopped = new AbortController();
  const brokenOff = new AbortController();
  const onSignal = () => (stopped.signal.aborted ? brokenOff : stopped).abort();
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  const asked = new Promise((done) => stopped.signal.addEventListener('abort', done, { once: true }));
  service.serve();
  const at = formatAddress(service.address);
  if (json) printJson({ dir: store.dir, http: at, pid: process.pid });
  else print(`vreserve serves the store ${store.dir} at ${at}; Ctrl-C ends it`);
  await asked;
  await service.finish(brokenOff.signal);
}

function addressOf(text: string, isAny: boolean): HttpAddress {
  const address = parseHttpAddress(text);
  if (isAny || isLoopback(address)) return address;
  const reason = `-s ${text} can be reached from other machines: say --http-any too, best with --token-file`;
  throw new VreserveError('USAGE', { reason });
}
