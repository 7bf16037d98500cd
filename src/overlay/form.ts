/**
 * The forms in which a layer lies on disk: how it deletes, and how its files carry what the file
 * system cannot.
 */

/**
 * How a layer's directory says "deleted" and "nothing from below". `overlay`: character device 0:0,
 * or the xattr forms of overlayfs. `aufs`: also `.wh.NAME` and `.wh..wh..opq` files.
 */
export type WhiteoutForm = 'overlay' | 'aufs';

/**
 * `real`: owners and special files as the tar has them, which takes rights. `override`: kept in
 * `user.containers.override_stat`; special files are empty regular files that have it, and every
 * file can be read by who applied the layer. Symbolic links cannot carry it.
 */
export type Ownership = 'real' | 'override';

/**
 * How a layer's directory on disk says "deleted" and "nothing from below": `overlay` by devices 0:0
 * and xattrs, `aufs` by `.wh.` files, `none` where every directory is complete.
 */
export type LayerForm = 'overlay' | 'aufs' | 'none';
