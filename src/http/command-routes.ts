// Commands of `control` over HTTP: the same JSON, and the same replies.

import type { FastifyPluginCallback } from 'fastify';
import { asVreserveError, VreserveError } from '../core/errors.js';
import { commandFrom } from '../views/command-json.js';
import type { ControlCommand } from '../views/command-line.js';
import { refusalJson } from '../views/json.js';
import { limitBodyTime, takeJson } from './bodies.js';
import type { HttpHost } from './host.js';
import { pathInMount } from './mounted.js';

/** What is done at once. */
const COMMANDS = ['reserve', 'extend', 'release', 'lot', 'space'] as const;

const BODY = {
  type: 'object',
  required: ['cmd'],
  properties: {
    cmd: { type: 'string', description: `One of ${COMMANDS.join(', ')}; the other members are those of the command.` },
  },
};

const REPLY = {
  type: 'object',
  required: ['ok', 'cmd'],
  properties: { ok: { const: true }, cmd: { type: 'string' }, lot: { type: ['object', 'null'] }, result: {} },
};

export function commandRoutes(host: Pick<HttpHost, 'command'>, mountpoint: string): FastifyPluginCallback {
  return (app, _, done) => {
    takeJson(app);
    limitBodyTime(app);
    app.post(
      '/api/v1.0/command',
      {
        schema: { body: BODY },
        config: { doc: { summary: 'A command as .vreserve/control takes it, which does not wait.', answers: { 200: REPLY } } },
      },
      async ({ body }, reply) => {
        const { cmd } = body as { cmd: string };
        try {
          return await host.command(here(commandFrom(body), mountpoint));
        } catch (thrown) {
          const error = asVreserveError(thrown);
          if (error.code === 'INTERNAL') throw thrown;
          return reply.code(error.httpStatus).send(refusalJson(error, cmd));
        }
      },
    );
    done();
  };
}

/** A path of the host below the mountpoint is taken as such, as in the original API. Throws NOT_SUPPORTED. */
function here(command: ControlCommand, mountpoint: string): ControlCommand {
  if (command.cmd === 'lot' || command.cmd === 'space') return command;
  if (command.cmd !== 'reserve' && command.cmd !== 'extend' && command.cmd !== 'release') {
    throw new VreserveError('NOT_SUPPORTED', { reason: `${command.cmd} is not done over HTTP: use vreserve ${command.cmd}` });
  }
  if (command.cmd === 'reserve' && command.waitMs !== undefined) {
    const reason = 'nobody waits over HTTP: use .vreserve/control of the mount, or put a request into .vreserve/spool/requests';
    throw new VreserveError('NOT_SUPPORTED', { reason });
  }
  return { ...command, path: pathInMount(command.path, mountpoint) };
}
