import dataclasses


@dataclasses.dataclass
class Conversation:
    system_message: str
    roles: tuple = ("<|im_start|>user\n", "<|im_start|>assistant\n")
    sep: str = "<|im_end|>\n"
    messages: list = dataclasses.field(default_factory=list)

    def append_message(self, role, message):
        self.messages.append([role, message])

    def get_prompt(self):
        said = "".join(role + (message + self.sep if message else "") for role, message in self.messages)
        return f"<|im_start|>system\n{self.system_message}{self.sep}{said}"


def get_conv_template(name):
    return Conversation("You are InternVL.")
