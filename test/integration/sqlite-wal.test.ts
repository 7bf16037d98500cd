/**
 * SQLite in WAL mode on a 90 MB database that is copied up: many page writes from two connections,
 * a reader beside them, checkpoints, a remount, and `PRAGMA integrity_check` after each.
 */
import t from 'tap';
import { writeFile } from 'node:fs/promises';
import { succeed } from '../support/command.js';
import { figure, givesBack, WatchedPlyfs } from '../suites/load/watched.js';
import { kernel, plyfs, unavailable, Union, type Mounter } from '../suites/mounters.js';

const create = `
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute('pragma page_size = 4096')
db.execute('create table blob(id integer primary key, n integer not null, data blob not null)')
for start in range(0, 23000, 1000):
    db.executemany('insert into blob values (?, 0, ?)', ((i, i.to_bytes(4, 'big') * 980) for i in range(start, start + 1000)))
    db.commit()
db.execute('create index by_n on blob(n)')
db.commit()
db.close()
`;

// A database changes its journal mode for one connection alone: nobody waits for the lock that
// takes (sqlite.org/wal.html).
const wal = `
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
assert db.execute('pragma journal_mode = wal').fetchone() == ('wal',)
db.close()
`;

// Each writer adds to random rows; the sum of n is what was added, whoever wrote when.
const writer = `
import sqlite3, sys, random
random.seed(int(sys.argv[2]))
db = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
assert db.execute('pragma journal_mode').fetchone() == ('wal',)
db.execute('pragma wal_autocheckpoint = 200')
for transaction in range(150):
    db.execute('begin immediate')
    for _ in range(40):
        i = random.randrange(23000)
        db.execute('update blob set n = n + 1, data = ? where id = ?', (random.randbytes(3920), i))
    db.execute('commit')
db.close()
`;

const reader = `
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=60)
last = 0
for _ in range(60):
    total, rows = db.execute('select sum(n), count(*) from blob').fetchone()
    assert total >= last and total % 40 == 0 and rows == 23000, (total, last, rows)
    last = total
db.close()
`;

const verify = `
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=60)
print(db.execute('pragma integrity_check').fetchone()[0], db.execute('select sum(n) from blob').fetchone()[0])
db.close()
`;

/** Debian's interpreter: another on the PATH may lack the module. */
const python = '/usr/bin/python3';

async function databaseSurvives(target: Mounter): Promise<void> {
  await t.test(target.name, { skip: (await unavailable(t, target)) ?? false }, async (t) => {
    const mounter = target === plyfs ? new WatchedPlyfs(t) : target;
    const union = await Union.create(t, mounter, 1);
    for (const [name, text] of Object.entries({ create, wal, writer, reader, verify }))
      await writeFile(`${union.base}/${name}.py`, text);
    const script = (name: string, ...args: string[]) =>
      succeed([python, `${union.base}/${name}.py`, ...args]);
    await script('create', `${union.lowers[0]}/data.db`);
    const size = Number(await succeed(['stat', '-c', '%s', `${union.lowers[0]}/data.db`]));
    t.ok(size > 90_000_000, `the database has ${size} bytes`);

    await union.mount();
    const db = `${union.mnt}/data.db`;
    await givesBack(t, mounter, async () => {
      await script('wal', db);
      await Promise.all([
        script('writer', db, '1'),
        script('writer', db, '2'),
        script('reader', db),
      ]);
      t.equal(await script('verify', db), 'ok 12000\n');
      await succeed(['cp', db, `${union.base}/copy.db`]);
      figure(
        t,
        mounter,
        `${size} bytes of database copied up and written in WAL mode, 300 transactions by two writers`,
      );
    });
    await union.remount();
    t.equal(await script('verify', db), 'ok 12000\n', 'after a remount');
    await script('writer', db, '3');
    t.equal(await script('verify', db), 'ok 18000\n');
    await union.unmount();
    t.equal(
      await script('verify', `${union.upper}/data.db`),
      'ok 18000\n',
      'in the upper directory itself',
    );
    t.equal(
      await script('verify', `${union.lowers[0]}/data.db`),
      'ok 0\n',
      'the lower is untouched',
    );
  });
}

t.setTimeout(300_000);
await databaseSurvives(kernel);
await databaseSurvives(plyfs);
