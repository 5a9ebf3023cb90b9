/** The pretraining corpus: short documents about the world, never a question with its answer. */
import type { Rng } from '../../core/tensor/rng.ts';
import { ANIMALS, animalSentences, capital, DAYS, LARGEST_TERM, MONTHS, NUMBERS, OPPOSITES, PEOPLE, sumSentence, THINGS, thingSentences, withArticle } from './world.ts';

/** Things that there can be several of. */
const COUNTABLE = ['apple', 'banana', 'lemon', 'plum', 'carrot', 'pumpkin', 'rose', 'stone', 'shell', 'ball', 'kite'] as const;

const pick = <T>(random: Rng, list: readonly T[]): T => list[random.integer(list.length)]!;

/** `n` different members, in random order. */
const some = <T>(random: Rng, list: readonly T[], n: number): T[] => random.shuffle([...list]).slice(0, n);

function factsOfAnimal(random: Rng): string[] {
  const animal = pick(random, ANIMALS);
  const own = `The ${animal.name} `;
  const facts = some(random, Object.values(animalSentences(animal)), 3 + random.integer(3));
  // After the first sentence the animal is "it" in half of the documents, as people write.
  return random.integer(2) === 0 ? facts : facts.map((fact, i) => (i === 0 ? fact : fact.replace(own, 'It ')));
}

function factsOfThing(random: Rng): string[] {
  return random.shuffle(Object.values(thingSentences(pick(random, THINGS))));
}

/** One kind of fact over several animals or things: what a colour or a home is, rather than what a frog is. */
function factsOfAKind(random: Rng): string[] {
  if (random.integer(3) === 0) {
    const kind = pick(random, ['colour', 'feel', 'place'] as const);
    return some(random, THINGS, 4).map((thing) => thingSentences(thing)[kind]);
  }
  const kind = pick(random, ['colour', 'sound', 'home', 'food', 'skill'] as const);
  return some(random, ANIMALS, 4).map((animal) => animalSentences(animal)[kind]);
}

const sums = (random: Rng): string[] => Array.from({ length: 4 }, () => sumSentence(random.integer(LARGEST_TERM + 1), random.integer(LARGEST_TERM + 1)));

/** A sum that is told before it is stated: the numbers have to be found in the text. */
function sharing(random: Rng): string[] {
  const [one, other] = some(random, PEOPLE, 2);
  const [a, b] = [random.integer(LARGEST_TERM + 1), random.integer(LARGEST_TERM + 1)];
  const thing = pick(random, COUNTABLE);
  const counted = (n: number): string => `${NUMBERS[n]!} ${thing}${n === 1 ? '' : 's'}`;
  return [
    `${one!.name} had ${counted(a)} and ${other!.name} had ${counted(b)}.`,
    sumSentence(a, b),
    `"Good day for ${thing}s," said ${one!.name}.`,
  ];
}

function counting(random: Rng): string[] {
  const from = random.integer(NUMBERS.length - 5);
  return [`${pick(random, PEOPLE).name} can count: ${NUMBERS.slice(from, from + 5).join(', ')}.`];
}

function opposites(random: Rng): string[] {
  return some(random, OPPOSITES, 3).map((pair) => {
    const [word, other] = random.integer(2) === 0 ? pair : [pair[1], pair[0]];
    return `The opposite of ${word} is ${other}.`;
  });
}

function calendar(random: Rng): string[] {
  const list = random.integer(2) === 0 ? DAYS : MONTHS;
  const from = random.integer(list.length);
  return Array.from({ length: 3 }, (_, i) => `After ${list[(from + i) % list.length]!} comes ${list[(from + i + 1) % list.length]!}.`);
}

/** A visit: someone meets an animal, and everything said of it is true. */
function visit(random: Rng): string[] {
  const { name, subject } = pick(random, PEOPLE);
  const animal = pick(random, ANIMALS);
  const he = capital(subject);
  const middle = some(random, [
    `The ${animal.name} was ${animal.colour}.`,
    `"${capital(animal.sound)}," said the ${animal.name}.`,
    `${name} gave ${animal.food} to the ${animal.name}.`,
    `${he} asked what the ${animal.name} can do. The ${animal.name} can ${animal.skill}.`,
    `"Good day," said ${name}.`,
    `${he} had a question about the ${animal.name}.`,
  ], 3);
  return [
    `One day ${name} saw ${withArticle(animal.name)} ${animal.home}.`,
    ...middle,
    pick(random, [`${name} was happy.`, `Then ${subject} went home.`, `${name} and the ${animal.name} were friends.`]),
  ];
}

/** A gift: two people and a thing, told with the names again and again, which teaches copying from context. */
function gift(random: Rng): string[] {
  const [giver, taker] = some(random, PEOPLE, 2);
  const thing = pick(random, THINGS);
  return [
    `${giver!.name} had ${withArticle(thing.name)}.`,
    `The ${thing.name} was ${thing.colour} and ${thing.feel}.`,
    pick(random, [`"What is it?" said ${taker!.name}.`, `"Which one is for me?" said ${taker!.name}.`, `"Tell me where it is," said ${taker!.name}.`]),
    `"It is ${withArticle(thing.name)}," said ${giver!.name}.`,
    `${giver!.name} gave the ${thing.name} to ${taker!.name}.`,
    pick(random, [`${taker!.name} was happy to have the ${thing.name}.`, `"Good ${thing.name}!" said ${taker!.name}.`, `Then ${taker!.name} said goodbye to ${giver!.name}.`]),
  ];
}

/** A walk through the week: who did what on which day. */
function week(random: Rng): string[] {
  const { name, subject } = pick(random, PEOPLE);
  const first = random.integer(DAYS.length);
  return some(random, ANIMALS, 3).map((animal, i) => `On ${DAYS[(first + i) % DAYS.length]!} ${i === 0 ? name : subject} saw the ${animal.name} ${animal.home}.`);
}

/** Generators and how often each is drawn. */
const KINDS: readonly (readonly [weight: number, write: (random: Rng) => string[]])[] = [
  [5, factsOfAnimal], [3, factsOfThing], [3, factsOfAKind], [4, sums], [4, sharing], [1, counting], [2, opposites], [2, calendar], [4, visit], [3, gift], [1, week],
];
const TOTAL_WEIGHT = KINDS.reduce((sum, [weight]) => sum + weight, 0);

/** A title as it stands above some documents. */
function heading(random: Rng): string {
  return `### ${pick(random, [`The ${pick(random, ANIMALS).name}`, `${pick(random, PEOPLE).name} and ${pick(random, PEOPLE).name}`, `One ${pick(random, DAYS)}`, 'A question'])}:\n`;
}

/** One document: a kind drawn by weight, its sentences on one line or a line each, one in ten under a title. */
export function writeDocument(random: Rng): string {
  let ticket = random.integer(TOTAL_WEIGHT);
  for (const [weight, write] of KINDS) {
    if (ticket < weight) return `${random.integer(10) === 0 ? heading(random) : ''}${write(random).join(random.integer(3) === 0 ? '\n' : ' ')}`;
    ticket -= weight;
  }
  throw new Error('The weights of the kinds do not add up.');
}
