/** Sixty simulated models on three servers: for development and tests, never in a production build. All figures are invented. */
import type { ModelView } from '../../api/ModelView';

const GB = 1e9;

/** Title, name on LM Studio, name on Ollama, billions of parameters. */
const FAMILIES: [string, string, string, number][] = [
  ['Qwen2.5 7B Instruct', 'qwen2.5-7b-instruct-mlx', 'qwen2.5:7b', 7.6],
  ['Llama 3.1 8B Instruct', 'meta-llama-3.1-8b-instruct', 'llama3.1:8b', 8],
  ['Phi-3 Mini 3.8B Instruct', 'phi-3-mini-4k-instruct-mlx', 'phi3:3.8b', 3.8],
  ['Qwen2.5 3B Instruct', 'qwen2.5-3b-instruct', 'qwen2.5:3b', 3],
  ['Qwen2.5 0.5B Instruct', 'qwen2.5-0.5b-instruct', 'qwen2.5:0.5b', 0.5],
  ['Qwen2.5 Coder 14B Instruct', 'qwen2.5-coder-14b-instruct-mlx', 'qwen2.5-coder:14b', 14.8],
  [
    'Qwen3 30B A3B Instruct 2507',
    'qwen3-30b-a3b-2507',
    'hf.co/unsloth/Qwen3-30B-A3B-Instruct-2507-GGUF:UD-Q4_K_XL',
    30.5,
  ],
  ['Mistral 7B Instruct v0.3', 'mistral-7b-instruct-v0.3', 'mistral:7b', 7.2],
  ['Gemma 3 4B', 'google/gemma-3-4b', 'gemma3:4b', 4.3],
  ['Gemma 3 12B', 'google/gemma-3-12b', 'gemma3:12b', 12.2],
  ['Gemma 3 27B', 'google/gemma-3-27b', 'gemma3:27b', 27.4],
  ['Llama 3.1 70B Instruct', 'meta-llama-3.1-70b-instruct', 'llama3.1:70b', 70.6],
  ['Llama 3.2 1B Instruct', 'llama-3.2-1b-instruct', 'llama3.2:1b', 1.2],
  ['Llama 3.2 3B Instruct', 'llama-3.2-3b-instruct', 'llama3.2:3b', 3.2],
  ['DeepSeek R1 Distill Qwen 7B', 'deepseek-r1-distill-qwen-7b', 'deepseek-r1:7b', 7.6],
  ['DeepSeek R1 Distill Llama 8B', 'deepseek-r1-distill-llama-8b', 'deepseek-r1:8b', 8],
  ['Granite 3.3 2B Instruct', 'granite-3.3-2b-instruct', 'granite3.3:2b', 2.5],
  ['Granite 3.3 8B Instruct', 'granite-3.3-8b-instruct', 'granite3.3:8b', 8.2],
  ['OLMo 2 7B Instruct', 'olmo-2-7b-instruct', 'olmo2:7b', 7.3],
  ['SmolLM2 1.7B Instruct', 'smollm2-1.7b-instruct', 'smollm2:1.7b', 1.7],
  ['Phi-4 14B', 'microsoft/phi-4', 'phi4:14b', 14.7],
  ['Yi 1.5 9B Chat', 'yi-1.5-9b-chat', 'yi:9b', 8.8],
  ['Falcon 3 10B Instruct', 'falcon3-10b-instruct', 'falcon3:10b', 10.3],
  ['StarCoder2 3B', 'starcoder2-3b', 'starcoder2:3b', 3],
  ['Codestral 22B', 'mistralai/codestral-22b-v0.1', 'codestral:22b', 22.2],
  ['Command R 35B', 'command-r-08-2024', 'command-r:35b', 32.3],
  ['Nemotron Mini 4B', 'nemotron-mini-4b-instruct', 'nemotron-mini:4b', 4.2],
  ['Aya Expanse 8B', 'aya-expanse-8b', 'aya-expanse:8b', 8],
];

/** What people meet: of a hub, very long, without a place to break, from right to left, with signs of several code points. */
const HARD: [string, string][] = [
  [
    'Qwen3 30B A3B Instruct 2507 UD Q4_K_XL imatrix calibrated on a mixture of code, mathematics and conversation, v2',
    'hf.co/unsloth/Qwen3-30B-A3B-Instruct-2507-GGUF:UD-Q4_K_XL',
  ],
  [
    'Meta-Llama-3.1-8B-Instruct-abliterated-'.repeat(3).slice(0, 120),
    'Meta-Llama-3.1-8B-Instruct-abliterated-'.repeat(4).slice(0, 120),
  ],
  [
    'نموذج اللغة العربية الكبير للمحادثات الطويلة والنصوص الأدبية',
    'arabic-نموذج-اللغة-العربية-الكبير-للمحادثات-الطويلة.gguf',
  ],
  ['דגם שפה עברי גדול לשיחות ארוכות', 'hf.co/dicta-il/דגם-שפה-עברי-גדול-לשיחות:Q4_K_M'],
  ['🦙🚀👩‍👩‍👧‍👦 Llama Family 🏳️‍🌈 Edition 🦙🚀👩‍👩‍👧‍👦', 'llama-👩‍👩‍👧‍👦-family-🏳️‍🌈-edition-🦙🚀-q4_k_m.gguf'],
  ['通义千问三代三百亿参数混合专家模型指令微调版本', '通义千问三代三百亿参数混合专家模型指令微调版本-q4_k_m.gguf'],
];

function model(server: string, name: string, title: string, billions: number, more: Partial<ModelView>): ModelView {
  const size_bytes = billions * 0.6 * GB;
  const needed_bytes = size_bytes * 1.06 + 0.3 * GB;
  const free = 15 * GB;
  return {
    id: `${server}/${name}`,
    standing: { holds: 'on_disk', tone: 'idle', word: '', reason: null, act: 'none' },
    loaded: false,
    active: false,
    fits: needed_bytes <= free,
    fits_reason: needed_bytes <= free ? 'it fits beside what runs now' : 'the weights alone take more than is free',
    needed_bytes,
    off_card: false,
    server,
    name,
    title,
    purpose: 'llm',
    format: server === 'lmstudio' ? 'mlx' : 'gguf',
    quantization: server === 'lmstudio' ? '4-bit MLX' : 'Q4_K_M',
    parameters: `${billions}B`,
    size_bytes,
    context_max: 32_768,
    ...more,
  };
}

/** `hard`: with names that are hard to draw. */
export function manyModels(hard: boolean): ModelView[] {
  const all = FAMILIES.flatMap(([title, studio, ollama, billions], index) => [
    model('lmstudio', studio, title, billions, index === 0 ? { active: true, loaded: true } : {}),
    model('ollama', ollama, title, billions, index === 3 ? { loaded: true } : {}),
  ]);
  all.push(
    model('llama-server', 'SmolLM2-135M-Instruct.Q4_1', 'SmolLM2 135M Instruct', 0.16, { quantization: 'Q4_1' }),
    model('llama-server', 'gemma-3-270m-it-Q4_K_M', 'Gemma 3 270M', 0.42, {}),
    model('ollama', 'nomic-embed-text:latest', 'nomic-embed-text v1.5', 0.14, {
      purpose: 'embedding',
      quantization: 'F16',
    }),
    model('lmstudio', 'bge-m3', 'BGE M3', 0.57, { purpose: 'embedding', quantization: 'F16' }),
    model('lmstudio', 'mistral-7b-instruct-v0.2-q4_k_m.gguf', 'Mistral 7B Instruct v0.2', 7.2, {
      purpose: 'other',
      damaged: 'it is cut off: 2.26 GB are missing',
      fits: null,
      needed_bytes: null,
    }),
  );
  if (hard)
    for (const [index, [title, name]] of HARD.entries()) {
      const at = index * 3;
      const one = all[at];
      if (one !== undefined) Object.assign(one, { title, name, id: `${one.server}/${name}` });
    }
  return all;
}
