// Compiles the step interpreter, runs cases with it in a directory, and pairs each step with what came of it.
import { join } from 'node:path';
import { must, ROOT, run } from '../helpers/run.js';
import type { Case } from './cases.js';

const SOURCES = ['posixcase.c', 'steps_file.c', 'steps_names.c', 'steps_shared.c'];

/** What a step gave. `wrong`: the case itself is broken. */
export type Result = { value: unknown } | { error: string } | { wrong: string };

/** A step as text, without its expectation, and its result. */
export interface Observed {
  step: string;
  result: Result;
}

/** Compiles into `directory`; the path of the program. */
export async function compileInterpreter(directory: string): Promise<string> {
  const program = join(directory, 'posixcase');
  const sources = SOURCES.map((name) => join(ROOT, 'test/conformance', name));
  await must(run('cc', ['-std=c17', '-O1', '-Wall', '-Wextra', '-Werror', '-D_GNU_SOURCE', '-o', program, ...sources]));
  return program;
}

/** Splits `ERRNO: step`; the errno is null where the step must succeed. */
export function splitStep(line: string): { errno: string | null; step: string } {
  // The process that does it may stand on either side: `@u EPERM: chmod x 0` reads best.
  const match = /^(@\S+ )?([A-Z0-9]+): (.*)$/s.exec(line);
  if (match === null) return { errno: null, step: line };
  return { errno: match[2] ?? null, step: `${match[1] ?? ''}${match[3]}` };
}

/** Runs the cases below `directory`, each in a fresh directory; what was observed, a list for each case. */
export async function runCases(program: string, directory: string, cases: readonly Case[]): Promise<Observed[][]> {
  const steps = cases.map((one) => one.steps.map((line) => splitStep(line).step));
  const script = steps.map((lines, i) => [`case ${i}`, ...lines].join('\n')).join('\n');
  const { stdout } = await must(run(program, [directory], { input: `${script}\n`, timeoutMs: 90_000 }));
  const results = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Result | { end: number });
  let at = 0;
  return steps.map((lines) => {
    const observed: Observed[] = [];
    for (const step of lines) {
      const result = results[at];
      if (result === undefined || 'end' in result) break;
      observed.push({ step, result });
      at += 1;
    }
    const end = results[at++];
    const status = end !== undefined && 'end' in end ? end.end : -1;
    if (status !== 0) observed.push({ step: '(the end)', result: { wrong: `the process ended with status ${status}` } });
    return observed;
  });
}
