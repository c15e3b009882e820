@ memcpy and memmove, in place of the compiler's own: those are made for long pieces and take 2.2 KB, and what is
@ copied here is nearly always the 40 bytes of a field element.
    .syntax unified
    .section .text.memcpy, "ax", %progbits
    .p2align 2
    .global memcpy
    .global __aeabi_memcpy
    .global __aeabi_memcpy4
    .global __aeabi_memcpy8
    .type memcpy, %function
    .type __aeabi_memcpy, %function
    .type __aeabi_memcpy4, %function
    .type __aeabi_memcpy8, %function
    .thumb_func
memcpy:
    .thumb_func
__aeabi_memcpy:
    .thumb_func
__aeabi_memcpy4:
    .thumb_func
__aeabi_memcpy8:
    mov r12, r0
    @ Four words at once must be aligned; a single one need not be.
    orr r3, r0, r1
    lsls r3, r3, #30
    bne 2f
    subs r2, #16
    blo 1f
    push {r4, r5, r6}
0:
    ldmia r1!, {r3, r4, r5, r6}
    stmia r0!, {r3, r4, r5, r6}
    subs r2, #16
    bhs 0b
    pop {r4, r5, r6}
1:
    adds r2, #16
2:
    subs r2, #4
    ittt hs
    ldrhs r3, [r1], #4
    strhs r3, [r0], #4
    bhs 2b
    adds r2, #4
3:
    beq 4f
    ldrb r3, [r1], #1
    strb r3, [r0], #1
    subs r2, #1
    b 3b
4:
    mov r0, r12
    bx lr

    @ Moves bytes that may overlap, one by one: it is hardly used.
    .section .text.memmove, "ax", %progbits
    .p2align 2
    .global memmove
    .global __aeabi_memmove
    .global __aeabi_memmove4
    .global __aeabi_memmove8
    .type memmove, %function
    .type __aeabi_memmove, %function
    .type __aeabi_memmove4, %function
    .type __aeabi_memmove8, %function
    .thumb_func
memmove:
    .thumb_func
__aeabi_memmove:
    .thumb_func
__aeabi_memmove4:
    .thumb_func
__aeabi_memmove8:
    mov r12, r0
    @ From the end, if the destination begins within the source.
    subs r3, r0, r1
    cmp r3, r2
    bhs 2f
1:
    cbz r2, 3f
    subs r2, #1
    ldrb r3, [r1, r2]
    strb r3, [r0, r2]
    b 1b
2:
    cbz r2, 3f
    ldrb r3, [r1], #1
    strb r3, [r0], #1
    subs r2, #1
    b 2b
3:
    mov r0, r12
    bx lr
