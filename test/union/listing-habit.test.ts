/**
 * When listings are given with attributes: by what those who list do with the names
 * (listing-habit.ts).
 */
import t from 'tap';
import type { Name } from '../../src/base/bytes.js';
import type { LayerDirectory } from '../../src/overlay/layer.js';
import { ListingHabit } from '../../src/union/listing-habit.js';
import { DirectoryNode, Node } from '../../src/union/node.js';

const holder = { layer: { index: 1 } } as unknown as LayerDirectory;
const directory = (): DirectoryNode => new DirectoryNode(1, [holder]);
const file = new Node(2, 0o100000, holder, 'f' as Name);

function habitWith(forgotten: DirectoryNode[]): ListingHabit {
  const habit = new ListingHabit();
  habit.attach((one) => forgotten.push(one));
  return habit;
}

/**
 * Lists so many directories, and looks up each of `files` names of each that is given bare. Returns
 * how many were.
 */
function walk(habit: ListingHabit, directories: number, files: number): number {
  let bare = 0;
  for (let i = 0; i < directories; i++) {
    const one = directory();
    if (habit.withAttributes(one)) continue;
    bare++;
    for (let name = 0; name < files; name++) habit.lookedUp(one, file);
  }
  return bare;
}

t.test('find: no listing comes with attributes', async (t) => {
  const habit = habitWith([]);
  t.equal(walk(habit, 5000, 0), 5000);
});

t.test('ls -lR: all but a few listings come with attributes', async (t) => {
  t.ok(walk(habitWith([]), 5000, 30) < 20, 'with many files in each directory');
  t.ok(walk(habitWith([]), 5000, 1) < 200, 'with one file in each');
});

t.test('find after ls -lR: listings come bare again', async (t) => {
  const habit = habitWith([]);
  walk(habit, 5000, 30);
  t.ok(walk(habit, 5000, 0) > 3900);
});

t.test('ls -lR after find: what the kernel has cached bare is asked for again', async (t) => {
  const forgotten: DirectoryNode[] = [];
  const habit = habitWith(forgotten);
  const [first, second, gone] = [directory(), directory(), directory()];
  for (const one of [first, second, gone]) habit.withAttributes(one);
  habit.gone(gone);
  for (let i = 0; i < 10; i++) habit.lookedUp(first, file);
  t.same(forgotten, [second]);
});

t.test(
  'directories that are gone into, and names that were not listed bare, say nothing',
  async (t) => {
    const habit = habitWith([]);
    const listed = directory();
    habit.withAttributes(listed);
    for (let i = 0; i < 10; i++) {
      habit.lookedUp(listed, directory());
      habit.lookedUp(directory(), file);
    }
    t.notOk(habit.withAttributes(directory()));
  },
);
