/* Counts how many questions of a quiz were answered right at once. Answers open and close without this script. */
(() => {
  "use strict";
  for (const quiz of document.querySelectorAll(".quiz")) {
    const questions = [...quiz.querySelectorAll(".quiz-question")], first = new Map();
    for (const question of questions) {
      for (const answer of question.querySelectorAll("details.quiz-answer")) {
        answer.addEventListener("toggle", () => {
          if (!answer.open || first.has(question)) return;
          first.set(question, answer.classList.contains("quiz-right"));
          const right = [...first.values()].filter(Boolean).length;
          quiz.querySelector(".quiz-count").textContent =
            `${right} of ${first.size} right at once${first.size < questions.length ? ` (${questions.length - first.size} to go)` : ""}.`;
        });
      }
    }
  }
})();
