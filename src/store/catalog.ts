// What a store knows of its names, in memory: contents, uploads under way, failures that are not collected, all names in order.

import type { Blob, NameStatus } from './blob.js';
import { SortedNames } from './sorted-names.js';
import { KEPT_TRANSITIONS, type Transition, unpackTransitions } from './status.js';
import type { Upload } from './upload.js';

/** Of a name where something happens, or has failed. */
interface Activity {
  /** Has taken the name: no other creation may begin. */
  creation: Upload | null;
  uploads: Set<Upload>;
  /** Transitions of what failed last, or was removed, oldest first. */
  failed: readonly Transition[] | null;
}

export class Catalog {
  readonly #blobs = new Map<string, Blob>();
  readonly #activities = new Map<string, Activity>();
  readonly #names = new SortedNames();
  #version = 0;
  #blobBytes = 0;

  /** Another with each change of what a list shows. */
  get version(): number {
    return this.#version;
  }

  get blobCount(): number {
    return this.#blobs.size;
  }

  get blobBytes(): number {
    return this.#blobBytes;
  }

  /** In no order. */
  blobs(): Iterable<Blob> {
    return this.#blobs.values();
  }

  blob(name: string): Blob | null {
    return this.#blobs.get(name) ?? null;
  }

  /** The content of the name from now on; null: none. */
  setBlob(name: string, blob: Blob | null): void {
    this.#blobBytes += (blob?.sizeBytes ?? 0) - (this.#blobs.get(name)?.sizeBytes ?? 0);
    if (blob === null) this.#blobs.delete(name);
    else this.#blobs.set(name, blob);
    this.#list(name);
  }

  creationOf(name: string): Upload | null {
    return this.#activities.get(name)?.creation ?? null;
  }

  uploads(): Upload[] {
    return [...this.#activities.values()].flatMap(({ uploads }) => [...uploads]);
  }

  begin(upload: Upload): void {
    const activity = this.#activity(upload.name);
    activity.uploads.add(upload);
    if (upload.isCreation) activity.creation = upload;
    this.#list(upload.name);
  }

  /** It became the content, or failed: then with its transitions. */
  end(upload: Upload, failed: readonly Transition[] | null): void {
    const activity = this.#activity(upload.name);
    activity.uploads.delete(upload);
    if (activity.creation === upload) activity.creation = null;
    activity.failed = failed;
    this.#settle(upload.name, activity);
  }

  /** The name has lost its content. */
  fail(name: string, transitions: readonly Transition[]): void {
    this.#activity(name).failed = transitions;
    this.#list(name);
  }

  /** Failures are known no more. */
  collect(): void {
    for (const [name, activity] of [...this.#activities]) {
      activity.failed = null;
      this.#settle(name, activity);
    }
  }

  /** null: the name is free. */
  status(name: string): NameStatus | null {
    const blob = this.blob(name);
    const activity = this.#activities.get(name);
    if (blob === null && activity === undefined) return null;
    const pendingUploads = activity?.uploads.size ?? 0;
    const state = blob !== null ? 'OK' : pendingUploads > 0 ? 'Pending' : 'Failure';
    return { name, state, blob, pendingUploads, hasFailed: (activity?.failed ?? null) !== null };
  }

  /** Newest first; empty where the name is free. In the order of what happened: a clock may be set back. */
  transitions(name: string): Transition[] {
    const blob = this.blob(name);
    const activity = this.#activities.get(name);
    const all = [
      ...(blob === null ? [] : unpackTransitions(blob.transitions)),
      ...(activity?.failed ?? []),
      ...[...(activity?.uploads ?? [])].flatMap(({ transitions }) => transitions),
    ];
    return all.slice(-KEPT_TRANSITIONS).reverse();
  }

  names(after: string | null): Iterable<string> {
    return this.#names.after(after);
  }

  #activity(name: string): Activity {
    let activity = this.#activities.get(name);
    if (activity === undefined) {
      activity = { creation: null, uploads: new Set(), failed: null };
      this.#activities.set(name, activity);
    }
    return activity;
  }

  #settle(name: string, { uploads, failed }: Activity): void {
    if (uploads.size === 0 && failed === null) this.#activities.delete(name);
    this.#list(name);
  }

  #list(name: string): void {
    this.#version += 1;
    if (this.#blobs.has(name) || this.#activities.has(name)) this.#names.add(name);
    else this.#names.remove(name);
  }
}
