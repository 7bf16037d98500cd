/**
 * The commands of ply. A command's own file is loaded when it is called, so that none is slower for
 * the others.
 */
import type { CommandEntry } from '../command.js';

export const commands: readonly CommandEntry[] = [
  {
    group: 'Images',
    name: 'pull',
    summary: 'Fetch an image from a registry',
    load: async () => (await import('./pull.js')).pull,
  },
  {
    group: 'Images',
    name: 'load',
    summary: 'Load images from an archive',
    load: async () => (await import('./load.js')).load,
  },
  {
    group: 'Images',
    name: 'save',
    summary: 'Save images to an archive',
    load: async () => (await import('./save.js')).save,
  },
  {
    group: 'Images',
    name: 'import',
    summary: "Make an image of a root file system's tar",
    load: async () => (await import('./import.js')).importCommand,
  },
  {
    group: 'Images',
    name: 'images',
    summary: 'List images',
    load: async () => (await import('./images.js')).images,
  },
  {
    group: 'Images',
    name: 'history',
    summary: 'Show how an image was made',
    load: async () => (await import('./history.js')).history,
  },
  {
    group: 'Images',
    name: 'inspect',
    summary: 'Show all about images, mounts and layers',
    load: async () => (await import('./inspect.js')).inspect,
  },
  {
    group: 'Images',
    name: 'tag',
    summary: 'Give an image another name',
    load: async () => (await import('./tag.js')).tag,
  },
  {
    group: 'Images',
    name: 'rmi',
    summary: 'Remove images',
    load: async () => (await import('./rmi.js')).rmi,
  },
  {
    group: 'Images',
    name: 'layers',
    summary: 'List the layers of an image, and where they lie',
    load: async () => (await import('./layers.js')).layers,
  },
  {
    group: 'Images',
    name: 'tree',
    summary: 'Show how much of each layer those above it hide',
    load: async () => (await import('./tree.js')).tree,
  },
  {
    group: 'Registries',
    name: 'push',
    summary: 'Put images into a registry',
    load: async () => (await import('./push.js')).push,
  },
  {
    group: 'Registries',
    name: 'login',
    summary: 'Log in to a registry',
    load: async () => (await import('./login.js')).login,
  },
  {
    group: 'Registries',
    name: 'logout',
    summary: 'Log out of a registry',
    load: async () => (await import('./logout.js')).logout,
  },
  {
    group: 'Containers',
    name: 'create',
    summary: 'Make a container of an image',
    load: async () => (await import('./create.js')).create,
  },
  {
    group: 'Containers',
    name: 'ps',
    summary: 'List containers',
    load: async () => (await import('./ps.js')).ps,
  },
  {
    group: 'Containers',
    name: 'diff',
    summary: 'List what was changed in a container',
    load: async () => (await import('./diff.js')).diff,
  },
  {
    group: 'Containers',
    name: 'commit',
    summary: 'Make an image of what was changed in a container',
    load: async () => (await import('./commit.js')).commit,
  },
  {
    group: 'Containers',
    name: 'cp',
    summary: 'Copy files into a container, or out of it',
    load: async () => (await import('./cp.js')).cp,
  },
  {
    group: 'Containers',
    name: 'export',
    summary: 'Write all files of a container as a tar',
    load: async () => (await import('./export.js')).exportCommand,
  },
  {
    group: 'Containers',
    name: 'reset',
    summary: 'Throw away what was changed in containers',
    load: async () => (await import('./reset.js')).reset,
  },
  {
    group: 'Containers',
    name: 'rename',
    summary: 'Give a container another name',
    load: async () => (await import('./rename.js')).rename,
  },
  {
    group: 'Containers',
    name: 'rm',
    summary: 'Remove containers, with what was changed in them',
    load: async () => (await import('./rm.js')).rm,
  },
  {
    group: 'Containers',
    name: 'prune',
    summary: 'Remove all containers that nobody uses',
    load: async () => (await import('./prune.js')).prune,
  },
  {
    group: 'Containers',
    name: 'run',
    summary: 'Run a program in a container',
    // As docker run.
    failureStatus: 125,
    load: async () => (await import('./run.js')).run,
  },
  {
    group: 'Containers',
    name: 'bundle',
    summary: 'Make an OCI bundle, for crun, runc and others',
    load: async () => (await import('./bundle.js')).bundle,
  },
  {
    group: 'Mounts',
    name: 'mount',
    summary: 'Mount an image or a container at a directory',
    load: async () => (await import('./mount.js')).mount,
  },
  {
    group: 'Mounts',
    name: 'umount',
    summary: 'Unmount a directory, or what has that name',
    load: async () => (await import('./umount.js')).umount,
  },
  {
    group: 'Mounts',
    name: 'mounts',
    summary: 'List what is mounted',
    load: async () => (await import('./mounts.js')).mounts,
  },
  {
    group: 'Mounts',
    name: 'explain',
    summary: 'Show which layers hold a path, and why it looks as it does',
    load: async () => (await import('./explain.js')).explain,
  },
  {
    group: 'Mounts',
    name: 'trace',
    summary: 'Follow what a mount does',
    load: async () => (await import('./trace.js')).trace,
  },
  {
    group: 'Data root',
    name: 'info',
    summary: 'Show what the data root is and holds',
    load: async () => (await import('./info.js')).info,
  },
  {
    group: 'Data root',
    name: 'gc',
    summary: 'Remove what nothing needs',
    load: async () => (await import('./gc.js')).gc,
  },
  {
    group: 'Data root',
    name: 'fsck',
    summary: 'Check the data root',
    load: async () => (await import('./fsck.js')).fsck,
  },
  {
    group: 'Program',
    name: 'completion',
    summary: 'Print a script that has the shell complete words',
    load: async () => (await import('./completion.js')).completion,
  },
  {
    group: 'Program',
    name: 'version',
    summary: 'Print versions',
    load: async () => (await import('./version.js')).version,
  },
  {
    group: 'Hidden',
    name: '__complete',
    raw: true,
    summary: 'What may stand for the last word',
    load: async () => (await import('./complete.js')).completeFrom(commands),
  },
];
