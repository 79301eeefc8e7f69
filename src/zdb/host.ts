// What the namespaces ask of the mount: where their directories are, and who pays for them.

import type { NamespaceLots } from '../core/namespace-layout.js';
import type { Remote } from '../process/calls.js';

export interface NamespaceHost {
  /** The directory that has one directory a namespace, as this process sees it. */
  directory: string;
  lots: Remote<NamespaceLots>;
}
