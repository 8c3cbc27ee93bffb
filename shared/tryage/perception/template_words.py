"""How the parts of a template of retrieval-augmented generation are named, in many languages.

Each word is how a name begins, in small letters: "document" stands for "Documents", too.
"""

from __future__ import annotations

CONTEXT = (
    *("context", "document", "passage", "excerpt", "chunk", "snippet", "article", "retriev"),
    *("knowledge", "search result", "kontext", "dokument", "quelle", "auszug", "auszüg"),
    *("wissen", "extrait", "fuente", "fragment", "fonte", "trecho", "contesto", "estratt"),
    *("bronnen", "kennisbank", "контекст", "документ", "фрагмент", "bağlam", "belge"),
    *("문맥", "컨텍스트", "문서", "참고", "السياق", "المستند", "المقاطع", "وثائق"),
    *("संदर्भ", "दस्तावेज", "上下文", "已知信息", "参考", "资料", "文档", "知识"),
    *("コンテキスト", "文脈", "資料", "文書"),
)
"""Retrieved text."""

PAGE = (
    *("source", "facts", "results", "reference", "info", "text", "background", "catalog", "notes"),
    *("guideline", "extract", "exhibit", "citation", "items", "content", "files", "tekst", "metin"),
    *("النص", "网页", "tài liệu", "observation", "thought", "action"),
)
"""Retrieved text and other things: these count as a name, not within a sentence.

The last ones are the steps of an agent that thinks aloud (ReAct, Yao et al., 2023).
"""

RETRIEVED = (*CONTEXT, *PAGE)
"""All names of retrieved text."""

QUESTION = (
    *("question", "query", "frage", "requête", "pregunta", "consulta", "pergunta"),
    *("domanda", "vraag", "pytani", "вопрос", "запрос", "soru", "질문", "السؤال", "سؤال"),
    *("प्रश्न", "सवाल", "问题", "提问", "質問", "問い合わせ", "dúvida", "câu hỏi", "استشارة"),
)
"""What is asked."""

USER = (
    *("user", "customer", "human", "nutzer", "benutzer", "kunde", "utilisateur", "client"),
    *("usuario", "usuário", "cliente", "utente", "gebruiker", "klant", "użytkownik"),
    *("пользовател", "사용자", "المستخدم", "用户", "người dùng"),
    "kullanıcı",  # noqa: RUF001 - Turkish
)
"""The person who asks, whose name may stand before the question."""

ANSWER = (
    *("answer", "response", "reply", "output", "assistant", "antwort", "réponse", "respuesta"),
    *("resposta", "risposta", "antwoord", "odpowied", "ответ", "cevap", "답변", "الإجابة"),
    *("الجواب", "उत्तर", "जवाब", "答案", "回答"),
    "yanıt",  # noqa: RUF001 - Turkish
)
"""Where the answer is expected."""

TASK = (
    *(*QUESTION, *ANSWER, "beantwort", "répond", "respond", "domande", "rispond", "odpow"),
    *("отвеч", "ответь"),
)
"""What a sentence has that says what to do with retrieved text."""

ASKING = (
    *(*QUESTION, *USER, "ask", "want", "know", "answer", "wrote", "writes", "says", "message"),
    *("schreibt", "dit ", "écrit", "escrib", "escreve", "scrive", "пишет", "消息"),
)
"""What a line before the question has, such as "A customer wants to know:"."""

ABOVE = (
    *("above", "the above", "end of", "oben", "ende ", "einde ", "ci-dessus", "fin d"),
    *("arriba", "acima", "выше", "конец", "上述", "以上", "上記"),
)
"""How a sentence begins that closes retrieved text."""

LETTERS = {"q": "question", "问": "question", "問": "question", "a": "answer", "答": "answer"}
"""Names of one letter."""

TRAILING = frozenset(
    (
        *("information", "message", "text", "follows", "input", "user", "below", "list"),
        *("material", "section", "is", "ist", "est", "es", "é", "è", "şu"),
    )
)
"""Words after the one that counts, as in "The original query is as follows"."""
