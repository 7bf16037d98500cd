import type { Certificates } from '../../src/distribution/certificates.js';

/** For registries that do not speak TLS. */
export const NO_CERTIFICATES: Certificates = { authorities: [], clients: [] };
