/**
 * Configurations of images from before Docker 1.10. The ids are those that dockerd 20.10.24 gave
 * them when it loaded them.
 */
import fc from 'fast-check';
import t from 'tap';
import { sha256, type DiffId } from '../../src/base/digest.js';
import { goMap, rawMembers } from '../../src/image/go-json.js';
import { configFromV1, parseV1Image } from '../../src/image/v1-config.js';

const diffIds = [
  'sha256:0942a73735c6829d188e0dbf85726630a3eac1afb3184340ed1e1c583728d7ab',
  'sha256:d8e2064bf83b2e1a0258c50a26ea5bc6eee503aa6d18768c836f48cda9c923d3',
  'sha256:f8f698eb3c55ac3b13caa63bfa42545fe3169b7ec18bb77fa2830d79757552b8',
] as DiffId[];
const [grandparent, parent, child] = ['a', 'b', 'c'].map((digit) => digit.repeat(64)) as [
  string,
  string,
  string,
];

// Says no version: through Go's structs. Fields in other cases, unknown and null ones, a command of
// one word, an escape, trailing zeros.
const first = `{"id":"${grandparent}","created":"2014-02-03T04:05:06.7000Z","container":"x<y>","container_config":{"Hostname":"h","Cmd":"single","ENV":["a=\\u00e9&b"],"Memory":5,"ExposedPorts":{"80/tcp":{},"443/tcp":null},"Volumes":{},"OnBuild":[],"Labels":{"b":"1","a":"<2>"},"StopTimeout":0,"Shell":[],"Healthcheck":{"Test":["CMD","x"],"Interval":1000000000}},"architecture":"amd64","os":"linux","Size":12345,"unknown":{"x": 1.50}}`;
const second = `{ "id" : "${child}", "parent":"${grandparent}","created":"2015-08-19T16:49:11.368300679+02:00","author":"A & B","comment":"c\\tm","container_config":{"Cmd":["/bin/sh","-c","#(nop) ENTRYPOINT [\\"x\\"]"],"Entrypoint":["e"],"Image":"i","NetworkDisabled":true,"MacAddress":"m"},"docker_version":"1.6.2","config":{"Hostname":"03797203757d","User":"","Cpuset":"","PortSpecs":null,"ExposedPorts":null,"Env":["PATH=/go","GOPATH=/go"],"Cmd":null,"Volumes":null,"WorkingDir":"/go","Entrypoint":["/go/bin"],"OnBuild":[],"Labels":{},"StopSignal":"SIGINT","StopTimeout":7,"ArgsEscaped":true},"architecture":"amd64","os":"linux","Size":0}`;
// Of 1.8.3 or later: kept as text.
const third = `{"id":"${parent}","parent":"${child}","created":"2016-08-19T16:49:11.300Z","throwaway":true,"docker_version":"1.9.1","config":{"Zz":1.50,"Env":["<a>&"],  "Labels": {"z":"\\u0041\\/"}},"layer_id":"x","parent_id":"y","history":"gone","os":"linux","Size":77,"extra":[1e3, {"k" : null}],"container_config":{"cmd":["a","b"]}}`;

await t.test('have the ids that Docker gives them', async (t) => {
  const images = [first, second, third].map((text) => parseV1Image(Buffer.from(text), 'json'));
  const ids = images.map((image, index) => {
    const history = images.slice(0, index + 1).map((one) => one.history);
    return sha256(configFromV1(image, diffIds.slice(0, index + 1), history, 'json'));
  });
  t.same(ids, [
    'sha256:6d7fc8c8ae87a1f2ad621316ed2967c37c90dc9b7ef70fd9377331054c3f7917',
    'sha256:958e65b9c6f1904c067e1354e3d4f9ef6f511376313a929762d6b68fcae6e361',
    'sha256:ba29ea52015d6c669658e554a40852471484363994a5f7c8df7eb8643ab5b67e',
  ]);
  t.same(
    images.map((image) => image.parent),
    ['', grandparent, child],
  );
});

await t.test('that are not what they should be', async (t) => {
  for (const text of [
    '',
    '[]',
    '{"parent":1}',
    '{"parent":"../x"}',
    '{"container_config":3}',
    '{"created":"yesterday"}',
    '{"author":{}}',
  ]) {
    t.throws(() => parseV1Image(Buffer.from(text), 'json'), { code: 'archive-invalid' }, text);
  }
  const image = parseV1Image(Buffer.from('{"config":{"Env":"x"}}'), 'json');
  t.throws(() => configFromV1(image, [], [], 'json'), {
    code: 'archive-invalid',
    message: /config\.Env/,
  });
});

await t.test(
  'members of an object are what JSON.parse finds, their text without what is between tokens',
  async (t) => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.string(), fc.jsonValue()),
        fc.constantFrom(undefined, 1, '\t'),
        (object, space) => {
          const members = rawMembers(JSON.stringify(object, null, space));
          const parsed = new Map(
            [...members].map(([key, text]) => [key, JSON.parse(text) as unknown]),
          );
          const expected = new Map(Object.entries(JSON.parse(JSON.stringify(object)) as object));
          if (JSON.stringify([...parsed]) !== JSON.stringify([...expected])) return false;
          // Nothing that HTML gives a meaning is left, nor a space outside of strings.
          const text = goMap(members);
          return (
            !/[<>&\u2028\u2029]/.test(text) &&
            JSON.stringify(JSON.parse(text)).length <= text.length
          );
        },
      ),
      { numRuns: 500 },
    );
    t.pass('for 500 objects');
  },
);
