/** The facts of a small world: everything that the quickstart's model is ever told. */

export interface Animal {
  readonly name: string;
  readonly colour: string;
  readonly sound: string;
  /** With its preposition: `in the pond`. */
  readonly home: string;
  readonly food: string;
  /** What it can do: `jump`. */
  readonly skill: string;
}

export interface Thing {
  readonly name: string;
  readonly colour: string;
  /** What it is like to eat or touch. */
  readonly feel: string;
  /** Where it is found, with its preposition. */
  readonly place: string;
}

export interface Person {
  readonly name: string;
  readonly subject: 'he' | 'she';
}

const animal = (name: string, colour: string, sound: string, home: string, food: string, skill: string): Animal => ({ name, colour, sound, home, food, skill });
const thing = (name: string, colour: string, feel: string, place: string): Thing => ({ name, colour, feel, place });

export const ANIMALS: readonly Animal[] = [
  animal('frog', 'green', 'croak', 'in the pond', 'flies', 'jump'),
  animal('duck', 'yellow', 'quack', 'on the lake', 'bread', 'swim'),
  animal('cow', 'white', 'moo', 'in the barn', 'grass', 'give milk'),
  animal('dog', 'brown', 'woof', 'in the house', 'bones', 'run'),
  animal('cat', 'grey', 'meow', 'in the house', 'fish', 'climb'),
  animal('pig', 'pink', 'oink', 'on the farm', 'corn', 'roll'),
  animal('sheep', 'white', 'baa', 'on the hill', 'grass', 'walk'),
  animal('horse', 'brown', 'neigh', 'in the stable', 'hay', 'run'),
  animal('hen', 'red', 'cluck', 'on the farm', 'seeds', 'lay eggs'),
  animal('owl', 'brown', 'hoot', 'in the tree', 'mice', 'see at night'),
  animal('crow', 'black', 'caw', 'in the tree', 'seeds', 'fly'),
  animal('bee', 'yellow', 'buzz', 'in the hive', 'honey', 'fly'),
  animal('mouse', 'grey', 'squeak', 'in the hole', 'cheese', 'hide'),
  animal('lion', 'yellow', 'roar', 'in the desert', 'meat', 'hunt'),
  animal('bear', 'black', 'growl', 'in the cave', 'honey', 'climb'),
  animal('wolf', 'grey', 'howl', 'in the forest', 'meat', 'hunt'),
  animal('fox', 'red', 'yap', 'in the forest', 'mice', 'hide'),
  animal('snake', 'green', 'hiss', 'in the desert', 'eggs', 'crawl'),
  animal('goat', 'white', 'bleat', 'on the hill', 'leaves', 'climb'),
  animal('bird', 'blue', 'tweet', 'in the nest', 'worms', 'sing'),
  animal('seal', 'black', 'bark', 'on the beach', 'fish', 'swim'),
  animal('monkey', 'brown', 'chatter', 'in the jungle', 'nuts', 'climb'),
  animal('donkey', 'grey', 'bray', 'in the stable', 'hay', 'carry bags'),
  animal('turkey', 'black', 'gobble', 'on the farm', 'corn', 'walk'),
];

export const THINGS: readonly Thing[] = [
  thing('apple', 'red', 'sweet', 'in the garden'),
  thing('banana', 'yellow', 'sweet', 'in the jungle'),
  thing('lemon', 'yellow', 'sour', 'in the garden'),
  thing('plum', 'purple', 'sweet', 'in the garden'),
  thing('carrot', 'orange', 'hard', 'on the field'),
  thing('pumpkin', 'orange', 'round', 'on the field'),
  thing('rose', 'red', 'soft', 'in the garden'),
  thing('stone', 'grey', 'hard', 'by the river'),
  thing('shell', 'pink', 'hard', 'on the beach'),
  thing('leaf', 'green', 'soft', 'in the tree'),
  thing('cloud', 'white', 'soft', 'in the sky'),
  thing('moon', 'white', 'round', 'in the sky'),
  thing('sun', 'yellow', 'hot', 'in the sky'),
  thing('snow', 'white', 'cold', 'on the hill'),
  thing('ball', 'blue', 'round', 'in the box'),
  thing('kite', 'blue', 'light', 'in the box'),
  thing('bread', 'brown', 'soft', 'in the kitchen'),
  thing('milk', 'white', 'cold', 'in the kitchen'),
  thing('pepper', 'green', 'hot', 'in the kitchen'),
  thing('cherry', 'red', 'round', 'in the tree'),
];

/** Each word's opposite is its neighbour. */
export const OPPOSITES: readonly (readonly [string, string])[] = [
  ['hot', 'cold'], ['big', 'small'], ['fast', 'slow'], ['happy', 'sad'], ['old', 'young'], ['day', 'night'], ['up', 'down'], ['open', 'closed'],
  ['wet', 'dry'], ['hard', 'soft'], ['full', 'empty'], ['light', 'heavy'], ['sweet', 'sour'], ['near', 'far'], ['loud', 'quiet'], ['clean', 'dirty'],
];

export const NUMBERS: readonly string[] = [
  'zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten',
  'eleven', 'twelve', 'thirteen', 'fourteen', 'fifteen', 'sixteen', 'seventeen', 'eighteen',
];

export const DAYS: readonly string[] = ['Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday'];
export const MONTHS: readonly string[] = ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October', 'November', 'December'];

export const PEOPLE: readonly Person[] = [
  { name: 'Anna', subject: 'she' }, { name: 'Ben', subject: 'he' }, { name: 'Clara', subject: 'she' }, { name: 'David', subject: 'he' },
  { name: 'Emma', subject: 'she' }, { name: 'Felix', subject: 'he' }, { name: 'Grace', subject: 'she' }, { name: 'Henry', subject: 'he' },
  { name: 'Ida', subject: 'she' }, { name: 'Jack', subject: 'he' }, { name: 'Kate', subject: 'she' }, { name: 'Leo', subject: 'he' },
];

/** The largest term of a sum that the world knows. */
export const LARGEST_TERM = 9;

export const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

/** `a frog`, `an owl`. */
export const withArticle = (noun: string): string => `${'aeiou'.includes(noun.charAt(0)) ? 'an' : 'a'} ${noun}`;

/** `Two plus three is five.` */
export const sumSentence = (a: number, b: number): string => `${capital(NUMBERS[a]!)} plus ${NUMBERS[b]!} is ${NUMBERS[a + b]!}.`;

/** The sentence that states one fact of an animal; the corpus and the answers use the same. */
export const animalSentences = (it: Animal): Readonly<Record<'colour' | 'sound' | 'home' | 'food' | 'skill', string>> => ({
  colour: `The ${it.name} is ${it.colour}.`,
  sound: `The ${it.name} says ${it.sound}.`,
  home: `The ${it.name} lives ${it.home}.`,
  food: `The ${it.name} eats ${it.food}.`,
  skill: `The ${it.name} can ${it.skill}.`,
});

export const thingSentences = (it: Thing): Readonly<Record<'colour' | 'feel' | 'place', string>> => ({
  colour: `The ${it.name} is ${it.colour}.`,
  feel: `The ${it.name} feels ${it.feel}.`,
  place: `The ${it.name} is found ${it.place}.`,
});
