"""Makes the tokenizers of this folder: python make_tokenizers.py tokenizers PATH_OF_STORIES260K"""
import json, os, random, sys
from pathlib import Path
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

out = Path(sys.argv[1]); stories = sys.argv[2]
random.seed(3)
words = "the a once upon time there was little boy girl named Tim Lily who liked to play with red ball in park and one day saw big box said hello mom dad dog cat happy sad house tree sun rain why don't it's we're I'll 12 345 2024 3.14 write list of three ideas for dinner explain how works please answer question".split()
corpus = [" ".join(random.choices(words, k=12)) + random.choice([".", "!", "?\n", ":\n\n"]) for _ in range(400)]

def save(tokenizer, name, **settings):
    (out / name).mkdir(parents=True, exist_ok=True)
    (out / name / 'tokenizer.json').write_text(tokenizer.to_str())
    (out / name / 'tokenizer_config.json').write_text(json.dumps(dict(tokenizer_class='PreTrainedTokenizerFast', **settings)))

t = Tokenizer(models.BPE(ignore_merges=True))
split = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(split), 'isolated'), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
t.decoder = decoders.ByteLevel()
t.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
t.add_special_tokens(['<|begin_of_text|>', '<|end_of_text|>', '<|eot_id|>'])
t.add_tokens([AddedToken('Lily', normalized=False), AddedToken('<pause>', lstrip=True)])
t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), processors.TemplateProcessing(single='<|begin_of_text|> $A', special_tokens=[('<|begin_of_text|>', t.token_to_id('<|begin_of_text|>'))])])
save(t, 'bytelevel', bos_token='<|begin_of_text|>', eos_token='<|eot_id|>', clean_up_tokenization_spaces=True)

t = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token='<unk>'))
t.pre_tokenizer = pre_tokenizers.Metaspace(replacement='▁', prepend_scheme='first', split=False)
t.decoder = decoders.Sequence([decoders.Replace('▁', ' '), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(' ', 1, 0)])
t.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=480, special_tokens=['<unk>', '<s>', '</s>'] + [f'<0x{i:02X}>' for i in range(256)], show_progress=False))
j = json.loads(t.to_str()); j['added_tokens'] = [a for a in j['added_tokens'] if a['id'] < 3]; t = Tokenizer.from_str(json.dumps(j))
t.post_processor = processors.TemplateProcessing(single='<s> $A', special_tokens=[('<s>', 1)])
save(t, 'metaspace', bos_token='<s>', eos_token='</s>', unk_token='<unk>')

texts = ["", " ", "  ", "Hello", " Hello", "  Hello  world ", "\n", "\n\nHi\n", "\t tab", "Once upon a time", "<s>", "</s>", "<s>Hello</s>", "a</s>b", "<unk>", "x <unk> y", " <s> ", "<s><s>", "é", "naïve café", "日本語テキスト", "你好，世界", "🙂", "👨‍👩‍👧‍👦 family", "مرحبا بالعالم", "שלום", "Привет мир", "e\u0301", "\u200b", "\u00a0nbsp\u00a0", "▁", "▁▁a", "a▁b", " ▁ ", "<0x0A>", "\x00", "\x7f", "\r\n", "ﬁ", "Ω", "𝒳", "\ud7ff", "don't", "I'LL", "word.", "word .", "a , b", "1234567890", "3.14", "http://x.y/z?q=1", "<|im_start|>", "<|eot_id|>", "a <|eot_id|> b", "<|begin_of_text|>x", "### Instruction:\nDo it.\n\n### Response:\n", "Lily", "LILY", "Lilyx <pause> y<pause>", "…", "—", "“quotes”", "a" * 50, " " * 20, "ab " * 30, "\n" * 5, "tab\tand\u2003em space"]
texts += [" ".join(random.choices(words, k=random.randint(3, 20))) for _ in range(60)]
pool = ["a", "b", " ", "  ", "é", "日", "🙂", "<s>", "</s>", "\n", "▁", ".", "'s", "Once", "the ", "\t", "<|eot_id|>", "12345"]
while len(texts) < 200: texts.append("".join(random.choice(pool) for _ in range(random.randint(1, 12))))
cases = {}
for name, path in [('stories260k', stories), ('bytelevel', out / 'bytelevel'), ('metaspace', out / 'metaspace')]:
    tok = AutoTokenizer.from_pretrained(path)
    cases[name] = [[tok(x)['input_ids'], tok.decode(tok(x)['input_ids'], skip_special_tokens=True), tok.decode(tok(x)['input_ids'], skip_special_tokens=False)] for x in texts]
(out / 'cases.json').write_text('{"texts":' + json.dumps(texts) + ',\n' + ',\n'.join(f'"{k}":' + json.dumps(v, separators=(',', ':')) for k, v in cases.items()) + '}\n')
print(len(texts))
