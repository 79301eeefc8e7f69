// What is about the server: PING, TIME, INFO, WAIT, STOP.

import { array, bulkText, failure, status } from '../resp.js';
import type { Answer } from '../session.js';
import { argument, BAD_ARGUMENTS, type Call, type Command } from './command.js';

const DEFAULT_TIMEOUT_MS = 5000;
const LEAST_TIMEOUT_MS = 100;
const MOST_TIMEOUT_MS = 1_800_000;

const PONG = status('PONG');

function time(): Buffer {
  const nowUs = BigInt(Math.floor((performance.timeOrigin + performance.now()) * 1000));
  return array([bulkText(String(nowUs / 1_000_000n)), bulkText(String(nowUs % 1_000_000n))]);
}

function info({ server }: Call): Buffer {
  const { counts, startedAtS, nowS, version } = server;
  const text = [
    '# server',
    'server_name: vreserve',
    `server_revision: ${version}`,
    `boot_time: ${startedAtS}`,
    `uptime: ${nowS() - startedAtS}`,
    '',
    '# clients',
    `clients_lifetime: ${counts.clients}`,
    `clients_connected: ${server.connections()}`,
    '',
    '# stats',
    `commands_executed: ${counts.commands}`,
    `commands_unknown: ${counts.refused}`,
    `memory_rss_bytes: ${process.memoryUsage.rss()}`,
  ];
  return bulkText(text.map((line) => `${line}\n`).join(''));
}

/** WAIT NAME|* [MS]: until another client has run the command in the same namespace. */
function wait(call: Call): Answer {
  const { args, session, namespace, server } = call;
  if (args.length !== 2 && args.length !== 3) return BAD_ARGUMENTS;
  const said = argument(call, 1).toString('latin1');
  const name = said === '*' ? null : server.commandNamed(said)?.name;
  if (name === undefined) return failure('Unknown command to watch');
  const digits = args.length === 3 ? argument(call, 2).toString('latin1') : String(DEFAULT_TIMEOUT_MS);
  const timeoutMs = /^[0-9]{1,16}$/.test(digits) ? Number(digits) : 0;
  if (timeoutMs < LEAST_TIMEOUT_MS || timeoutMs > MOST_TIMEOUT_MS) return failure('Invalid timeout');
  return server.watchers
    .wait(session, namespace, name, timeoutMs)
    .then((found) => (found === null ? failure('Timeout') : status(found)));
}

export const PING: Command = { name: 'PING', run: () => PONG };
export const TIME: Command = { name: 'TIME', run: time };
export const INFO: Command = { name: 'INFO', run: info };
export const WAIT: Command = { name: 'WAIT', run: wait };
/** For who mounts it alone: vreserve umount. */
export const STOP: Command = { name: 'STOP', run: () => failure('Unauthorized') };
