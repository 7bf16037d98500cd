/**
 * What a container's program reaches of attempts.c, each with its reason: everything else is
 * refused.
 */

export const expected: Readonly<Record<string, string>> = {
  set_id_program: 'as with docker: it gives what root of the container has, and no more',
  packet_socket: 'CAP_NET_RAW, which Docker gives as well: of the network that the container is on',
};

/**
 * Where the network is the host's, which is the default of ply: as with `docker run --network
 * host`.
 */
export const expectedOnHostNetwork: Readonly<Record<string, string>> = {
  abstract_socket: 'the names of abstract sockets belong to the network',
};
