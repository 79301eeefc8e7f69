// The protocol of Docker's volume plugins: POST of JSON, one route a call, errors in `Err`.

import type { FastifyPluginCallback, FastifyReply } from 'fastify';
import type { VreserveError } from '../core/errors.js';
import type { Volume, VolumeDriver } from '../volumes/driver.js';
import { asOurs } from './app.js';
import { limitBodyTime, takeJson } from './bodies.js';

/** What an engine says that it takes, whatever its version. */
const MEDIA_TYPE = 'application/vnd.docker.plugins.v1.1+json';

const NAME = { type: 'string' };
const NAMED = { type: 'object', required: ['Name'], properties: { Name: NAME } };
const NEW = {
  ...NAMED,
  properties: { Name: NAME, Opts: { type: ['object', 'null'], additionalProperties: { type: 'string' } } },
};
/** Engines of before 1.12 send no ID. */
const MOUNT = { ...NAMED, properties: { Name: NAME, ID: { type: 'string', default: '' } } };

const KIND = {
  'Plugin.Activate': { Implements: ['VolumeDriver'] },
  'VolumeDriver.Capabilities': { Capabilities: { Scope: 'local' } },
};

interface Named {
  Name: string;
}

interface New extends Named {
  Opts?: Record<string, string> | null;
}

interface Mount extends Named {
  ID: string;
}

/** `driver` throws where there are no volumes (yet). `tellFailure` is for what is nobody's fault. */
export function volumeRoutes(
  driver: () => VolumeDriver,
  tellFailure: (error: unknown, url: string) => void,
): FastifyPluginCallback {
  return (app, _, done) => {
    takeJson(app);
    limitBodyTime(app);
    // Docker reads Err whatever the status is, Podman only where it is not 200.
    app.setErrorHandler((thrown, request, reply) => {
      const error: VreserveError = asOurs(thrown);
      if (error.code === 'INTERNAL') tellFailure(thrown, request.url);
      return say(reply.code(error.httpStatus), { Err: error.message.trimEnd() });
    });
    /** Calls without a schema take any body, and none. */
    const call = <Body>(name: string, body: object | null, answer: (body: Body) => Promise<object>) =>
      app.post(`/${name}`, { schema: body === null ? {} : { body } }, async (request, reply) =>
        say(reply, await answer(request.body as Body)),
      );

    // Asked before anything else: they say what it is, whether or not it serves by then.
    for (const [name, answer] of Object.entries(KIND)) {
      app.post(`/${name}`, { config: { isOpen: true } }, (_request, reply) => say(reply, answer));
    }
    call<New>('VolumeDriver.Create', NEW, async ({ Name, Opts }) => {
      await driver().create(Name, Opts ?? {});
      return { Err: '' };
    });
    call<Named>('VolumeDriver.Remove', NAMED, async ({ Name }) => {
      await driver().remove(Name);
      return { Err: '' };
    });
    call<Mount>('VolumeDriver.Mount', MOUNT, async ({ Name, ID }) => ({ Mountpoint: await driver().mount(Name, ID), Err: '' }));
    call<Mount>('VolumeDriver.Unmount', MOUNT, async ({ Name, ID }) => {
      await driver().unmount(Name, ID);
      return { Err: '' };
    });
    call<Named>('VolumeDriver.Path', NAMED, async ({ Name }) => ({ Mountpoint: await driver().path(Name), Err: '' }));
    call<Named>('VolumeDriver.Get', NAMED, async ({ Name }) => {
      const { status, createdAtMs, ...volume } = await driver().get(Name);
      const created = createdAtMs === null ? {} : { CreatedAt: new Date(createdAtMs).toISOString() };
      return { Volume: { ...wireOf(volume), ...created, Status: status }, Err: '' };
    });
    call('VolumeDriver.List', null, async () => ({ Volumes: (await driver().list()).map(wireOf), Err: '' }));
    done();
  };
}

function say(reply: FastifyReply, json: object): FastifyReply {
  return reply.type(MEDIA_TYPE).send(JSON.stringify(json));
}

function wireOf({ name, mountpoint }: Volume): { Name: string; Mountpoint: string } {
  return { Name: name, Mountpoint: mountpoint };
}
