import { fileURLToPath } from 'node:url';

/** The checkout: compiled tests lie in dist/test/support. */
export const root = fileURLToPath(new URL('../../../', import.meta.url)).replace(/\/$/, '');
