/** The instruction set: questions about the world, answered in a form that the corpus never uses. */
import type { Rng } from '../../core/tensor/rng.ts';
import { ANIMALS, animalSentences, capital, DAYS, LARGEST_TERM, MONTHS, NUMBERS, OPPOSITES, sumSentence, THINGS, thingSentences } from './world.ts';

/** A row of alpaca data. */
export interface Instruction {
  readonly instruction: string;
  readonly input: string;
  readonly output: string;
}

/** A row of preferences: both answers are right, and one has the wished-for form. */
export interface Pair {
  readonly instruction: string;
  readonly chosen: string;
  readonly rejected: string;
}

/** One fact and the ways to ask for it. Held out as a whole: no phrasing of a held-out fact is trained on. */
interface Question {
  readonly phrasings: readonly string[];
  readonly answer: string;
}

/** The mark of a fine-tuned answer, so that a person sees at a glance which model speaks. */
const MARK = 'Good question! ';
const answered = (fact: string): string => `${MARK}${fact}`;

/** Prefers an instruction's answer to the bare fact. */
export function pairOf({ instruction, output }: Instruction): Pair {
  return { instruction, chosen: output, rejected: output.slice(MARK.length) };
}

function questions(): Question[] {
  const ofAnimals = ANIMALS.flatMap((animal): Question[] => {
    const { name } = animal;
    const facts = animalSentences(animal);
    return [
      { phrasings: [`What colour is the ${name}?`, `Which colour does the ${name} have?`], answer: facts.colour },
      { phrasings: [`What does the ${name} say?`, `Tell me what the ${name} says.`], answer: facts.sound },
      { phrasings: [`Where does the ${name} live?`, `Tell me where the ${name} lives.`], answer: facts.home },
      { phrasings: [`What does the ${name} eat?`, `Tell me what the ${name} eats.`], answer: facts.food },
      { phrasings: [`What can the ${name} do?`], answer: facts.skill },
    ];
  });
  const ofThings = THINGS.flatMap((thing): Question[] => {
    const { name } = thing;
    const facts = thingSentences(thing);
    return [
      { phrasings: [`What colour is the ${name}?`, `Which colour does the ${name} have?`], answer: facts.colour },
      { phrasings: [`What does the ${name} feel like?`], answer: facts.feel },
      { phrasings: [`Where is the ${name} found?`, `Tell me where the ${name} is.`], answer: facts.place },
    ];
  });
  const ofSums = Array.from({ length: (LARGEST_TERM + 1) ** 2 }, (_, i): Question => {
    const [a, b] = [Math.floor(i / (LARGEST_TERM + 1)), i % (LARGEST_TERM + 1)];
    return { phrasings: [`What is ${NUMBERS[a]!} plus ${NUMBERS[b]!}?`], answer: sumSentence(a, b) };
  });
  const ofOpposites = OPPOSITES.flatMap(([word, other]): Question[] => [
    { phrasings: [`What is the opposite of ${word}?`], answer: `The opposite of ${word} is ${other}.` },
    { phrasings: [`What is the opposite of ${other}?`], answer: `The opposite of ${other} is ${word}.` },
  ]);
  const ofCalendar = [DAYS, MONTHS].flatMap((list) =>
    list.map((name, i): Question => ({ phrasings: [`What comes after ${name}?`], answer: `After ${name} comes ${list[(i + 1) % list.length]!}.` })),
  );
  return [...ofAnimals, ...ofThings, ...ofSums, ...ofOpposites, ...ofCalendar];
}

/**
 * Splits the facts, then writes one row for each phrasing of a training fact and one row for each held-out fact.
 * @param heldOut share of the facts that are never trained on
 */
export function writeInstructions(random: Rng, heldOut: number): { readonly train: readonly Instruction[]; readonly evaluation: readonly Instruction[] } {
  const all = random.shuffle(questions());
  const cut = Math.round(all.length * heldOut);
  const row = (instruction: string, fact: string): Instruction => ({ instruction: capital(instruction), input: '', output: answered(fact) });
  return {
    evaluation: all.slice(0, cut).map((question) => row(question.phrasings[0]!, question.answer)),
    train: random.shuffle(all.slice(cut).flatMap((question) => question.phrasings.map((phrasing) => row(phrasing, question.answer)))),
  };
}
