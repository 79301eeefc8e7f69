// Stands for the store where a test has none: an import is refused, as a mount without a store refuses it.
import { VreserveError } from '../../src/core/errors.js';

export async function noStore(): Promise<never> {
  throw new VreserveError('NO_STORE');
}
