import t from 'tap';
import { assertAllowed } from '../../src/distribution/http.js';

t.test('which addresses a registry may lead to', (t) => {
  const own = { http: false, host: 'localhost:5000' };
  const remote = { http: false, host: 'registry.example' };
  const insecure = { http: true, host: 'registry.example' };
  const untrusted = { code: 'registry-untrusted' };

  t.doesNotThrow(() => assertAllowed(new URL('http://127.0.0.1:5000/v2/'), own));
  t.doesNotThrow(() => assertAllowed(new URL('https://elsewhere.example/'), remote));
  t.doesNotThrow(() => assertAllowed(new URL('http://elsewhere.example/'), insecure));
  t.throws(() => assertAllowed(new URL('http://elsewhere.example/'), own), untrusted);
  // Services on loopback are not a foreign registry's to ask.
  t.throws(() => assertAllowed(new URL('http://localhost:2375/'), remote), untrusted);
  t.throws(() => assertAllowed(new URL('file:///etc/passwd'), insecure), untrusted);
  t.end();
});
