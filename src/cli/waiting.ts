// What a person sees while a request waits in line.

import { formatBytes } from '../core/bytes.js';
import { formatDuration } from '../core/duration.js';
import type { WaitingJson } from '../views/json.js';
import { readReport } from './live.js';
import { note, ProgressLine } from './output.js';

const LOOK_MS = 1000;
const FIRST_LOOK_MS = 200;

/** Says once that the request waits, and on a terminal how it stands; until `work` is done. */
export async function showingTheLine<T>(mountpoint: string, path: string, work: () => Promise<T>): Promise<T> {
  const progress = new ProgressLine();
  let isSaid = false;
  const look = () => {
    const waiting = waitingFor(mountpoint, path);
    if (waiting === null) return;
    if (progress.isShown) progress.update(standing(waiting), null);
    else if (!isSaid) note(standing(waiting));
    isSaid = true;
    if (!progress.isShown) clearInterval(timer);
  };
  const first = setTimeout(look, FIRST_LOOK_MS);
  const timer = setInterval(look, LOOK_MS);
  try {
    return await work();
  } finally {
    clearTimeout(first);
    clearInterval(timer);
    progress.clear();
  }
}

function waitingFor(mountpoint: string, path: string): WaitingJson | null {
  try {
    return readReport(mountpoint).waiting.findLast((each) => each.path === path) ?? null;
  } catch {
    return null; // the mount may be ending: `work` will say so
  }
}

function standing({ position, bytes, path, missingBytes, deadlineMs }: WaitingJson): string {
  const place = position === 1 ? 'first in line' : `${position - 1} before it`;
  const missing = missingBytes === null || missingBytes <= 0 ? '' : `, ${formatBytes(missingBytes)} missing`;
  const left = deadlineMs === null ? '' : `, ${formatDuration(Math.max(0, deadlineMs - Date.now()))} left`;
  return `waiting for ${formatBytes(bytes)} for ${path}: ${place}${missing}${left}`;
}
