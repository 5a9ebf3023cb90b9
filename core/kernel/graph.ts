/** Who consumes whom. A plugin's id is also the token under which others consume it. */
export type IdToConsumes = ReadonlyMap<string, readonly string[]>;

/** The ids given and all that consume them, directly or through others. */
export function withDependents(ids: Iterable<string>, idToConsumes: IdToConsumes): Set<string> {
  const reached = new Set(ids);
  for (let size = -1; size !== reached.size; ) {
    size = reached.size;
    for (const [id, consumes] of idToConsumes) if (consumes.some((token) => reached.has(token))) reached.add(id);
  }
  return reached;
}

/** Splits ids into groups that have nothing to do with each other. */
export function components(ids: ReadonlySet<string>, idToConsumes: IdToConsumes): readonly ReadonlySet<string>[] {
  const groups: Set<string>[] = [];
  for (const id of ids) {
    const linked = [id, ...(idToConsumes.get(id) ?? []).filter((token) => ids.has(token))];
    const joined = groups.filter((group) => linked.some((each) => group.has(each)));
    for (const group of joined) groups.splice(groups.indexOf(group), 1);
    groups.push(new Set([...joined.flatMap((group) => [...group]), ...linked]));
  }
  return groups;
}

/** Providers before their consumers; or the first cycle met, from an id back to it. */
export function inOrder(ids: ReadonlySet<string>, idToConsumes: IdToConsumes): { readonly order: readonly string[]; readonly cycle?: readonly string[] } {
  const order: string[] = [];
  const done = new Set<string>();
  const visit = (id: string, path: readonly string[]): readonly string[] | undefined => {
    if (path.includes(id)) return [...path.slice(path.indexOf(id)), id];
    if (done.has(id) || !ids.has(id)) return undefined;
    for (const token of idToConsumes.get(id) ?? []) {
      const cycle = visit(token, [...path, id]);
      if (cycle !== undefined) return cycle;
    }
    done.add(id);
    order.push(id);
    return undefined;
  };
  for (const id of ids) {
    const cycle = visit(id, []);
    if (cycle !== undefined) return { order: [], cycle };
  }
  return { order };
}
