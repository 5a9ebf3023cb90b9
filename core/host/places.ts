/**
 * Takes out of texts where things lie on this machine, for readers who have no business with it.
 * @param placeToName absolute folders and files, and what is told in their place; `''` leaves out a folder and the separator behind it
 */
export function withoutPlaces(placeToName: ReadonlyMap<string, string>): (text: string) => string {
  // The innermost first.
  const places = [...placeToName].sort(([a], [b]) => b.length - a.length);
  return (text) => places.reduce((told, [place, name]) => (name === '' ? told.replaceAll(`${place}/`, '') : told.replaceAll(place, name)), text);
}
