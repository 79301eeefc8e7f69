// Reads TAP on stdin, shows failures, skips with their reasons and a line a test file, and writes "passed failed skipped" to a file.
// Usage: tap-summary.js NAME COUNTS-FILE. What counts is a test point that has no subtests of its own.
import { writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

const [name = 'tests', countsFile] = process.argv.slice(2);
const say = (text) => process.stdout.write(`${text}\n`);

const total = { passed: 0, failed: 0, skipped: 0 };
/** Of the file under way. */
let part = { passed: 0, failed: 0, skipped: 0 };
/** Subtests that are open: their depth, name, and whether a point inside has failed or was counted. */
let open = [];
/** The depth at which test points stood last; one that stands less deep closes a subtest. */
let inside = [];
/** Sum of the plans: native tests are several programs one after the other. */
let planned = null;
let seen = 0;
let bailed = false;
let failing = null;

function count(kind) {
  part[kind]++;
  total[kind]++;
}

function point(depth, ok, text) {
  const children = inside.filter((p) => p.depth > depth);
  inside = inside.filter((p) => p.depth <= depth);
  const isSummary = children.length > 0;
  const failedInside = children.some((p) => p.failed);
  const skip = /#\s*SKIP\b\s*(.*)$/i.exec(text);
  const todo = /#\s*TODO\b/i.test(text);
  const time = /#\s*time=(\S+)/.exec(text)?.[1] ?? '';
  const title = text
    .replace(/\s#\s*(time=|SKIP|TODO).*$/i, '')
    .replace(/^\s*-?\s*/, '')
    .replace(/\s*\{$/, '');
  const path = [...open.filter((o) => o.depth < depth).map((o) => o.name), title].join(' > ');
  let failed = false;
  if (skip) {
    count('skipped');
    say(`skip  ${path}: ${skip[1].replace(/#\s*time=.*$/, '').trim() || 'no reason given'}`);
  } else if (todo) {
    count('skipped');
    say(`todo  ${path}`);
  } else if (!ok) {
    failed = true;
    if (!failedInside) {
      count('failed');
      say(`FAIL  ${path}`);
      failing = depth;
    }
  } else if (!isSummary) {
    count('passed');
  }
  inside.push({ depth, failed: failed || failedInside });
  open = open.filter((o) => o.depth < depth);
  if (depth === 0) {
    seen++;
    if (isSummary) {
      say(
        `${ok ? 'ok  ' : 'FAIL'}  ${title}: ${part.passed} passed, ${part.failed} failed, ${part.skipped} skipped ${time}`.trimEnd(),
      );
    }
    part = { passed: 0, failed: 0, skipped: 0 };
    inside = [];
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const text = line.trimStart();
  const depth = Math.floor((line.length - text.length) / 4);
  const result = /^(not ok|ok)\b(?:\s+\d+)?(.*)$/.exec(text);
  if (result && (line.length - text.length) % 4 === 0) {
    failing = null;
    point(depth, result[1] === 'ok', result[2].trim());
  } else if (text.startsWith('# Subtest: ')) {
    failing = null;
    open = open.filter((o) => o.depth < depth);
    open.push({ depth, name: text.slice('# Subtest: '.length) });
  } else if (/^Bail out!/.test(text)) {
    bailed = true;
    count('failed');
    say(`FAIL  ${text}`);
  } else if (/^1\.\.\d+/.test(text) && depth === 0) {
    planned = (planned ?? 0) + Number(text.slice(3).split(/\s/)[0]);
  } else if (failing !== null) {
    say(`      ${line}`);
    if (text === '...') failing = null;
  } else if (depth === 0 && text !== '' && !/^(TAP version|#|---|\.\.\.|pragma)/.test(text)) {
    // Output of a build, or of a runner that could not start.
    say(`      ${line}`);
  }
}

if (planned === null && !bailed) {
  count('failed');
  say(`FAIL  ${name}: ended without a plan`);
} else if (planned !== null && planned !== seen && !bailed) {
  count('failed');
  say(`FAIL  ${name}: ${planned} planned, ${seen} ran`);
}
say(`      ${name}: ${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
if (countsFile) writeFileSync(countsFile, `${total.passed} ${total.failed} ${total.skipped}\n`);
