// The OpenAPI document, made of the routes that there are and of the schemas that check their input.

import type { RouteOptions } from 'fastify';

type Schema = Record<string, unknown>;

/** What a route says of itself besides its schemas. */
export interface RouteDoc {
  summary: string;
  /** By status: the schema of a JSON body, or the content type of another; null: no body. */
  answers: Record<number, Schema | string | null>;
  /** In place of the route's own. */
  url?: string;
  methods?: readonly string[];
  /** Of the URL, where no schema checks them. */
  parameters?: readonly { name: string; description: string }[];
}

interface RouteSchemas {
  params?: { properties: Record<string, Schema> };
  querystring?: { properties: Record<string, Schema>; required?: readonly string[] };
  body?: Schema;
}

const ERROR = {
  type: 'object',
  required: ['code', 'errno', 'message'],
  properties: {
    code: { type: 'string', description: 'From the table of errors, such as NO_SPACE.' },
    errno: { type: 'string', description: 'What a system call would answer, such as ENOSPC.' },
    message: { type: 'string' },
  },
};

export class ApiDocument {
  readonly #paths: Record<string, Record<string, unknown>> = {};
  readonly #version: string;
  readonly #hasToken: boolean;

  constructor(version: string, hasToken: boolean) {
    this.#version = version;
    this.#hasToken = hasToken;
  }

  /** Routes without a description are left out. */
  add({ method, url, schema, config }: RouteOptions): void {
    const doc = config?.doc;
    // HEAD is where GET is.
    if (doc === undefined || method === 'HEAD') return;
    const path = (doc.url ?? url).replace(/:(\w+)/g, '{$1}');
    const found = this.#paths[path] ?? {};
    for (const each of doc.methods ?? [method].flat()) {
      const schemas = (schema ?? {}) as RouteSchemas;
      found[each.toLowerCase()] = { ...operation(doc, schemas), ...(config?.isOpen === true ? { security: [] } : {}) };
    }
    this.#paths[path] = found;
  }

  json(): object {
    const securitySchemes = { token: { type: 'http', scheme: 'bearer' } };
    return {
      openapi: '3.1.0',
      info: { title: 'vreserve', version: this.#version, description: 'Disk-space reservations that hold.' },
      paths: this.#paths,
      components: { schemas: { Error: ERROR }, ...(this.#hasToken ? { securitySchemes } : {}) },
      ...(this.#hasToken ? { security: [{ token: [] }] } : {}),
    };
  }
}

function operation({ summary, answers, parameters = [] }: RouteDoc, { params, querystring, body }: RouteSchemas): Schema {
  const inUrl = [
    ...Object.entries(params?.properties ?? {}).map(([name, schema]) => parameter(name, 'path', true, schema)),
    ...Object.entries(querystring?.properties ?? {}).map(([name, schema]) =>
      parameter(name, 'query', querystring?.required?.includes(name) === true, schema),
    ),
    ...parameters.map(({ name, description }) => parameter(name, 'query', true, { type: 'string', description })),
  ];
  const responses = Object.fromEntries(Object.entries(answers).map(([status, content]) => [status, response(content)]));
  return {
    summary,
    ...(inUrl.length === 0 ? {} : { parameters: inUrl }),
    ...(body === undefined ? {} : { requestBody: { required: true, content: { 'application/json': { schema: body } } } }),
    responses: {
      ...responses,
      default: { description: 'Refused.', content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } } },
    },
  };
}

function parameter(name: string, where: 'path' | 'query', required: boolean, { description, ...schema }: Schema): Schema {
  return { name, in: where, required, ...(description === undefined ? {} : { description }), schema };
}

function response(content: Schema | string | null): Schema {
  if (content === null) return { description: 'Done.' };
  const [type, schema] = typeof content === 'string' ? [content, { type: 'string' }] : ['application/json', content];
  return { description: 'Done.', content: { [type]: { schema } } };
}
